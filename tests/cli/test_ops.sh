#!/bin/sh
# tenon ops: the matrix, and docs/ops.md is up to date.
. tests/cli/lib.sh

expect 0 "$tenon" ops
out_has "operation"
out_has "dot"
expect 0 "$tenon" ops --json
json "x['schema'] == 'tenon.ops/1' and len(x['ops']) > 80"
json "all(set(o['rules']) == {'eval', 'lower', 'vjp', 'batch', 'shard'} for o in x['ops'])"
json "all(o['refusals'][k] for o in x['ops'] for k in o['refusals'])"
json "{o['name']: o for o in x['ops']}['dot']['rules']['lower'] == 'contraction'"
expect 0 "$tenon" ops --markdown
diff -u docs/ops.md "$work/out" >&2 || die "docs/ops.md is old; run: build/tenon ops --markdown >docs/ops.md"
