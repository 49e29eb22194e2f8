#!/bin/sh
# tenon inspect: text, JSON, graphviz, the page in a browser.
. tests/cli/lib.sh

expect 0 "$tenon" inspect "$digits" --groups
out_has "image f32[N,1,8,8]"
out_has "not a transformer"
out_has "anchors    conv"
out_has "schedule"

expect 0 "$tenon" inspect "$digits" --groups --dim N=8192
out_has "times in a loop"
expect 0 "$tenon" inspect "$digits" --json --dim N=8192
json "any(g['launches'] > 1 for g in x['groups'])"
json "sum(g['bytes'] * g['launches'] for g in x['groups']) <= x['bytes']"

expect 0 "$tenon" inspect "$digits" --dim N=4 --json --dot "$work/d.dot" --html "$work/d.html"
json "x['schema'] == 'tenon.inspect/1' and x['structure'] is None"
json "x['parameters'] == 20602 and x['tensors'] == 8 and x['flops'] > 4e6"
json "x['peak_bytes'] > sum(v for k, v in x['memory'].items() if k != 'weights') and x['bytes'] > 0"
json "x['inputs'][0]['shape'] == [4, 1, 8, 8] and x['outputs'][0]['dtype'] == 'f32'"
json "all(isinstance(g[k], list) for g in x['groups'] for k in ('anchors', 'mainloop', 'epilogue', 'stores', 'recomputes'))"
json "sum(any(a.startswith('conv') for a in g['anchors']) for g in x['groups']) == 3"
groups=$(python3 -c 'import json,sys; print(len(json.load(open(sys.argv[1]))["groups"]))' "$work/out")
! grep -qE 'https?://[^w]' "$work/d.html" || die "the page refers to something outside"

if command -v dot >/dev/null; then
    dot -Tsvg "$work/d.dot" >"$work/d.svg" || die "graphviz refuses the graph"
    boxes=$(grep -c 'class="node"' "$work/d.svg")
    [ "$boxes" -ge "$groups" ] || die "$boxes boxes for $groups kernels"
fi

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "no browser: the page was not opened" >&2
    exit 0
}
"$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" \
    --virtual-time-budget=4000 --dump-dom "file://$work/d.html" >"$work/dom" 2>"$work/err" ||
    die "the browser failed"
drawn=$(grep -o 'data-kernel="' "$work/dom" | wc -l)
rows=$(grep -o 'data-group="' "$work/dom" | wc -l)
[ "$drawn" -ge "$groups" ] || die "$drawn kernels drawn of $groups"
[ "$rows" = "$groups" ] || die "$rows rows for $groups groups"
grep -q 'conv (/0/Conv)' "$work/dom" || die "the groups' operations are missing"
grep -q '<path d="M' "$work/dom" || die "no picture of the memory"
