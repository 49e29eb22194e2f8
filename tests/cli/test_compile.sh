#!/bin/sh
# tenon compile: a program file runs alone; the C source compiles with the C compiler alone.
. tests/cli/lib.sh

expect 0 "$tenon" run "$digits" -i "$images" -o "$work/onnx"
expect 0 "$tenon" compile "$digits" -o "$work/d.tn"
nothing_on out
expect 0 "$tenon" run "$work/d.tn" -i "$images" -o "$work/tn"
same "$work/onnx/logits.npy" "$work/tn/logits.npy" 0
expect 0 "$tenon" inspect "$work/d.tn" --json
json "x['structure'] is None and len(x['groups']) > 3"
expect 0 "$tenon" compile "$digits" -o "$work/d.tn" --json
json "x['schema'] == 'tenon.compile/1' and x['files'][0].endswith('d.tn')"

# Of somebody else's program the kernels are not compiled, unless that is wished for.
expect 0 env TENON_CACHE="$work/elsewhere" "$tenon" run "$work/d.tn" -i "$images" -o "$work/foreign"
err_has "d.tn was not compiled by this user here: its kernels are interpreted"
same "$work/tn/logits.npy" "$work/foreign/logits.npy" 2e-5
expect 1 env TENON_CACHE="$work/elsewhere" "$tenon" compile "$work/d.tn" --emit c -o "$work/foreign.c"
err_has "its kernels are code"
expect 0 env TENON_CACHE="$work/elsewhere" "$tenon" compile "$work/d.tn" -o "$work/laundered.tn"
expect 0 env TENON_CACHE="$work/elsewhere" "$tenon" run "$work/laundered.tn" -i "$images" -o "$work/foreign"
err_has "laundered.tn was not compiled by this user here"
expect 0 env TENON_CACHE="$work/elsewhere" "$tenon" run "$work/d.tn" -i "$images" -o "$work/foreign" --trust
nothing_on err
same "$work/tn/logits.npy" "$work/foreign/logits.npy" 0

head -c 2000 "$work/d.tn" >"$work/cut.tn"
expect 1 "$tenon" run "$work/cut.tn" -i "$images"
err_has "cut.tn"
expect 2 "$tenon" compile "$digits"
err_has "-o FILE is missing"
expect 2 "$tenon" compile "$digits" -o "$work/x" --emit=rust
err_has "'rust' is not program or c"
expect 2 "$tenon" compile "$digits" -o "$work/x.h" --emit=c
err_has "cannot end in .h or .bin"

expect 0 "$tenon" compile "$digits" --dim N=16 --emit c -o "$work/net.c"
cat >"$work/main.c" <<'C'
#include <stdio.h>
#include "net.h"
static float in[16 * 64], out[160], want[160];
static int tail(const char *path, void *to, size_t size) {
    FILE *f = fopen(path, "rb");
    int ok = f && !fseek(f, -(long)size, SEEK_END) && fread(to, 1, size, f) == size;
    if (f) fclose(f);
    return ok;
}
int main(int argc, char **argv) {
    const void *inputs[net_inputs] = {in};
    void *outputs[net_outputs] = {out};
    net_model *model = net_open(argv[1]);
    if (argc != 4 || !model || !tail(argv[2], in, sizeof in) || !tail(argv[3], want, sizeof want))
        return 1;
    for (int turn = 0; turn < 2; turn++)
        if (net_run(model, inputs, outputs)) return 2;
    for (int i = 0; i < 160; i++)
        if (!(out[i] - want[i] < 2e-5f && want[i] - out[i] < 2e-5f)) return 3;
    net_close(model);
    return net_open("/dev/null") != NULL;
}
C
# Names that the C language or the source itself uses are names of models, too.
for odd in int i8 launch 3d; do
    expect 0 "$tenon" compile "$digits" --dim N=1 --emit c -o "$work/$odd.c"
    "$cc" -std=gnu11 -c "$work/$odd.c" -o "$work/odd.o" 2>"$work/err" \
        || die "$odd.c does not compile: $(head -5 "$work/err")"
done

for flags in "-O2" "-O1 -march=native"; do
    # shellcheck disable=SC2086
    "$cc" -std=gnu11 -Wall -Wextra $flags "$work/main.c" "$work/net.c" -o "$work/net" \
        2>"$work/err" || die "the C source does not compile: $(head -5 "$work/err")"
    ! grep -q warning "$work/err" || { cat "$work/err" >&2; die "warnings"; }
    "$work/net" "$work/net.bin" "$images" "$work/onnx/logits.npy" || die "status $?"
done
