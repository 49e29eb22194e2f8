#!/bin/sh
# tenon explore --method genetic: what it found depends on the seed and not on the threads.
. "$(dirname "$0")/lib.sh"

search() {
    folder=$1
    shift
    expect 0 "$tenon" explore --method genetic --json --dse-output-dir "$work/$folder" \
        --num-generations 5 --population-num-per-generation 40 --topk 10 --mutate-ratio 0.8 "$@"
    cp "$work/out" "$work/$folder.json"
}

search one --seed 1 --threads 1
search four --seed 1 --threads 4
search other --seed 2 --threads 4
cmp "$work/one.json" "$work/four.json" || die "threads change what is found"
cmp "$work/one/result.log" "$work/four/result.log" || die "threads change result.log"
cmp -s "$work/one.json" "$work/other.json" && die "the seed changes nothing"
[ "$(wc -l <"$work/one/result.log")" = 5 ] || die "result.log has not five lines"
json 'x["machines"][0]["feasible"] and not x["machines"][0]["optimal"]'
json 'len({m["index"] for m in x["machines"]}) > 10'

# Channels that are all near memory, which the published compute-centric search never comes back from.
search all --is-dataflow-fixed specpim --nmp-channel-num-space 8
json 'all(m["machine"]["nmp_channels"] == 8 for m in x["machines"])'

# Two uses of one machine.
search two --workload llama3-8b:batch=1,prompt=157,generate=67 --workload palm-8b:batch=4,weight=2 --dataflows union
json 'len(x["machines"][0]["parts"]) == 2'
json 'abs(sum(p["weight"] * p["evaluation"]["total"] for p in x["machines"][0]["parts"]) / x["machines"][0]["latency"] - 1) < 1e-6'

expect 1 "$tenon" explore --method genetic --dse-output-dir "$work/none" --bank-memory-capacity 64
err_has "no machine of the family holds the workload"
[ ! -e "$work/none" ] || die "a search that finds nothing leaves files"
expect 2 "$tenon" explore --method genetic --mutate-ratio 1.5
err_has "--mutate-ratio"
