#!/bin/sh
# Verbs, options, help, exit statuses.
. tests/cli/lib.sh

expect 0 "$tenon" --version
grep -qE '^tenon [0-9]+\.[0-9]+\.[0-9]+$' "$work/out" || die "no version"
expect 0 "$tenon" help
out_has "usage: tenon VERB"
nothing_on err
expect 2 "$tenon"
nothing_on out
err_has "usage: tenon VERB"

# shellcheck disable=SC2086 # verbs of two words
for verb in run verify inspect bench compile doctor ops "wide run" "wide bench" "wide inspect" "wide extract"; do
    expect 0 "$tenon" $verb --help
    out_has "usage: tenon $verb"
    out_has "--json"
    nothing_on err
    cp "$work/out" "$work/help"
    expect 0 "$tenon" help $verb
    cmp -s "$work/out" "$work/help" || die "help $verb differs from $verb --help"
done

expect 2 "$tenon" inspct model.onnx
err_has "did you mean 'inspect'?"
expect 2 "$tenon" xyzzy
err_has "unknown verb 'xyzzy'"
expect 2 "$tenon" run model.onnx --thread=2
err_has "did you mean --threads?"
expect 2 "$tenon" run model.onnx --zzzzzz
err_has "unknown option --zzzzzz"
expect 2 "$tenon" run -z model.onnx
err_has "unknown option -z"
expect 2 "$tenon" run
err_has "MODEL is missing"
expect 2 "$tenon" run a.onnx b.onnx
err_has "'b.onnx' is one argument too many"
expect 2 "$tenon" run a.onnx --threads
err_has "--threads needs N"
expect 2 "$tenon" run a.onnx --threads=two
err_has "'two' is not a whole number"
expect 2 "$tenon" run a.onnx --json=yes
err_has "--json takes no value"
expect 2 "$tenon" run a.onnx --color=purple
err_has "'purple' is not auto, always or never"
expect 2 "$tenon" run "$digits" --dim N
err_has "'N' is not NAME=N"
expect 2 "$tenon" run "$digits" --device gpu9
err_has "no device 'gpu9'"
expect 2 "$tenon" verify --rtol=-1 x
err_has "--rtol: '-1' is not a number of 0 or more"

expect 1 "$tenon" run no-such.onnx
nothing_on out
err_has "no-such.onnx: No such file or directory"
expect 1 "$tenon" run Makefile
nothing_on out
err_has "tenon: error:"

# Options may stand anywhere, -- ends them, a short one may hold its argument.
expect 0 "$tenon" run --quiet "$digits" -i"$images"
expect 1 "$tenon" run -- --json
err_has "--json: No such file"

# Colours only where they are asked for; a full device is noticed.
expect 0 "$tenon" run "$digits" -i "$images" --color=always
grep -q "$(printf '\033')" "$work/out" || die "no colours"
expect 0 "$tenon" run "$digits" -i "$images"
! grep -q "$(printf '\033')" "$work/out" || die "colours in a file"
if [ -w /dev/full ]; then
    status=0
    "$tenon" ops >/dev/full 2>"$work/err" || status=$?
    [ "$status" = 1 ] || die "a full device gave status $status"
    err_has "cannot write to standard output"
fi
