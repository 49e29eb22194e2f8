#!/bin/sh
# tenon wide train: members with values of their own, beside runs alone; what it writes; what goes wrong.
. tests/cli/lib.sh
. tests/cli/digits.sh

# A line a step with lists over the members; member 0 is what tenon train makes of its values.
rates="--optimizer.lr 0.01,0.001,0.03 --optimizer.weight_decay 0,0.1,0.2"
expect 0 "$tenon" train "$work/run.json" --optimizer.lr 0.01 --optimizer.weight_decay 0 -q \
    --train.log "$work/alone"
# shellcheck disable=SC2086 # several words
expect 0 "$tenon" wide train "$work/run.json" $rates --json --train.log "$work/log" -o "$work/members" \
    --report "$work/run.html"
json "len(x) == 40 and all(r['schema'] == 'tenon.wide.train/1' and r['members'] == 3 for r in x)"
json "all(len(r[k]) == 3 for r in x for k in ('loss', 'grad_norm', 'lr', 'updated', 'active'))"
json "all(abs(r['lr'][2] - 3 * r['lr'][0]) < 1e-9 and abs(r['lr'][0] - 10 * r['lr'][1]) < 1e-9 for r in x)"
json "len(x[39]['eval_accuracy']) == 3 and 'eval_loss' in x[19] and x[39]['ensemble_accuracy'] > 0.5"
json "x[39]['best'] == max(range(3), key=lambda i: (x[39]['eval_accuracy'][i], -x[39]['eval_loss'][i]))"
json "all(('nodes' in r) == (i == 0) for i, r in enumerate(x))"
json "all(n['node'] and n['op'] and n['piece'] == 3 for n in x[0]['nodes'])"
json "{'batched', 'elements'} <= {n['strategy'] for n in x[0]['nodes'] if n['op'] in ('dot', 'conv', 'reduce')}"
[ "$(wc -l <"$work/log")" = 40 ] || die "the log has not a line for each step"
python3 - "$work/alone" "$work/log" <<'PYTHON' || die "member 0 is not what it is alone"
import json, sys
alone, wide = ([json.loads(line) for line in open(f)] for f in sys.argv[1:])
for a, w in zip(alone, wide):
    for key in ("loss", "grad_norm", "lr"):
        assert abs(a[key] - w[key][0]) <= 1e-4 * (1 + abs(a[key])), (a["step"], key, a[key], w[key][0])
assert abs(alone[39]["eval_accuracy"] - wide[39]["eval_accuracy"][0]) < 1e-9
PYTHON
for i in 0 1 2; do [ -s "$work/members/member-$i.safetensors" ] || die "member $i is not written"; done
grep -q '"member 2, lr 0.03, weight_decay 0.2"' "$work/run.html" || die "the page does not name the members"

# Lines for people; a range; the best one at the end.
expect 0 "$tenon" wide train "$work/run.json" --n 4 --optimizer.lr 1e-4:1e-1:log --train.steps 20 --interpret
out_has "best: member 3, lr 0.1, loss "
out_has "operations: "
out_has " batched"
out_has "of the ensemble "

# A configuration's lists; one of the command line takes their place, and so does one value for all.
sed 's/"lr": 0.01/"lr": [0.01, 0.02], "weight_decay": "0:0.3"/' "$work/run.json" >"$work/lists.json"
expect 0 "$tenon" wide train "$work/lists.json" --json --steps 3 --interpret
json "len(x) == 3 and x[2]['members'] == 2 and abs(x[2]['lr'][1] - 2 * x[2]['lr'][0]) < 1e-9"
expect 0 "$tenon" wide train "$work/lists.json" --json --steps 3 --interpret --optimizer.lr 0.01 --n 5
json "x[2]['members'] == 5 and len(set(x[2]['lr'])) == 1 and len(set(x[2]['loss'])) == 5"

# A member that diverges is stopped, the others go on.
expect 0 "$tenon" wide train "$work/run.json" --optimizer.kind sgd --optimizer.clip_norm 1e30 \
    --optimizer.lr 1e30,0.1 --json --steps 6 --interpret
json "x[5]['active'] == [False, True] and x[5]['loss'][0] is None and x[5]['best'] == 1"
err_has "member 0, lr 1e+30 diverged at step "
expect 1 "$tenon" wide train "$work/run.json" --optimizer.kind sgd --optimizer.clip_norm 1e30 \
    --optimizer.lr 1e30,1e31 -q --steps 9 --interpret
err_has "all 2 members diverged; lower learning rates or clipped gradients may help"

# One whose loss is finite and whose gradients are not is stopped, too; while losses are scaled, such steps
# find the scale and stop nobody.
sed 's/"std": \[0.35\]/"std": [1e-25]/' "$work/run.json" >"$work/huge.json"
expect 1 "$tenon" wide train "$work/huge.json" --optimizer.lr 0.01,0.02 --steps 9 --interpret
err_has "member 0, lr 0.01 has gradients that overflow at step 1 and is stopped"
err_has "all 2 members diverged"
expect 0 "$tenon" wide train "$work/run.json" --optimizer.kind sgd --optimizer.clip_norm 1e30 --train.precision f16 \
    --optimizer.lr 1e3,0.1 --json --steps 4 --interpret
json "x[2]['updated'] == [False, True] and x[3]['active'] == [True, True]"

# Equal beginnings: what differs is what the lists say.
expect 0 "$tenon" wide train "$work/run.json" --optimizer.lr 0.01,0.03 --same-init --json --steps 3 --interpret
json "x[0]['loss'][0] == x[0]['loss'][1] and x[2]['loss'][0] != x[2]['loss'][1]"

# An interrupted run goes on bit for bit.
expect 0 "$tenon" wide train "$work/run.json" --n 2 -q --train.steps 20 --schedule.total 20 --interpret \
    --checkpoint.folder "$work/whole" --checkpoint.every 10
cp -R "$work/whole" "$work/resumed"
rm -r "$work/resumed/step-20"
expect 0 "$tenon" wide train "$work/run.json" --n 2 -q --train.steps 20 --schedule.total 20 --interpret \
    --checkpoint.folder "$work/resumed" --resume
for f in "$work"/whole/step-20/*.safetensors; do
    cmp "$f" "$work/resumed/step-20/${f##*/}" || die "the resumed run differs"
done
expect 1 "$tenon" wide train "$work/run.json" --n 2 --steps 20 --checkpoint.folder "$work/whole"
err_has "holds a run's checkpoint of step 20; --resume goes on from it"
expect 1 "$tenon" wide train "$work/run.json" --n 3 --steps 20 --checkpoint.folder "$work/whole" --resume
nothing_on out

# What goes wrong.
expect 2 "$tenon" wide train "$work/run.json"
says "how many members? --n N, or a list such as --optimizer.lr 1e-3,1e-2 says so"
expect 2 "$tenon" wide train "$work/run.json" --n 0
says "--n 0: expected a number of members, 1 to 65536"
expect 2 "$tenon" wide train "$work/run.json" --n 4 --optimizer.lr 1,2,3
says "optimizer.lr has 3 values for 4 members (--n 4)"
expect 2 "$tenon" wide train "$work/run.json" --optimizer.momentum 1,2,3 --optimizer.lr 1,2
says "optimizer.momentum has 3 values for 2 members (optimizer.lr)"
expect 2 "$tenon" wide train "$work/run.json" --n 2 --optimizer.lr 1,x
says "optimizer.lr = 1,x; expected numbers from 0 with commas between, one a member"
expect 2 "$tenon" wide train "$work/run.json" --n 2 --optimizer.lr 0:1:log
says "optimizer.lr = 0:1:log; expected a range FIRST:LAST of numbers from 0, or FIRST:LAST:log of numbers above 0"
expect 2 "$tenon" wide train "$work/run.json" --n 2 --optimizer.eps 1e-8,1e-6
says "optimizer.eps = 1e-8,1e-6; expected a number: members differ in optimizer.lr, weight_decay, momentum and clip_norm alone"
expect 2 "$tenon" train "$work/run.json" --optimizer.lr 1,2
says "optimizer.lr = 1,2; expected a number from 0"
expect 1 "$tenon" wide train "$work/run.json" --n 2 --train.tensorboard "$work/board"
err_has "wide train writes no event files"
expect 1 "$tenon" wide train "$work/run.json" --n 2 -o "$work/run.json"
says "--output: $work/run.json is no folder"
nothing_on out
expect 1 "$tenon" wide train "$work/run.json" --n 2 -o /nowhere/members
says "--output: cannot make /nowhere/members: No such file or directory"
expect 1 "$tenon" wide train "$work/run.json" --n 2 --report /nowhere/run.html
err_has "/nowhere/run.html"
