#!/bin/sh
# tenon explore: the published options and their result.log, fixed dataflows, what is written where, JSON.
. tests/cli/lib.sh
root=$(pwd)

# Every published option with its default: the toy run, to the bit.
expect 0 "$tenon" explore --execution-type dse --model-type opt --max-batch-size 16 --input-seq-len 1024 \
    --max-gen-len 128 --max-seq-len 2048 --precision fp16 --total-channel-num 8 --bank-num-per-channel 16 \
    --bank-memory-capacity 256 --fpu-simd-width 16 --nmp-channel-num-space 2,4,6,8 \
    --input-buffer-size-space 4,8,16,32,64,128 --weight-buffer-size-space 4,8,16,32,64,128 \
    --output-buffer-total-size-space 4,8,16,32,64,128 \
    --fpu-pe-bw-space "[(8,400,6.4),(8,600,6.4),(8,800,6.4),(8,1000,6.4),(8,400,12.8),(8,600,12.8),(8,800,12.8),(4,1000,12.8),(8,400,25.6),(8,600,25.6),(4,800,25.6),(4,1000,25.6),(8,400,51.2),(4,600,51.2),(4,800,51.2),(2,1000,51.2)]" \
    --dse-output-dir "$work/all" --process-num 1 --seed 114514 --population-num-per-generation 100 \
    --num-generations 10 --mutate-ratio 1.0 --topk 50 --is-dataflow-fixed no
cat >"$work/toy.log" <<'LOG'
Best idv latency is 0.1215777305282143 (per layer).
Prefill latency is 0.05741103396571429 (per layer).
Decoding latency is 0.0641666965625 (per layer).
PE config 8 fpus @ 0.6GHz, hybrid bonding bandwidth 25.6GB/s.
Input buffer size 4KB, weight buffer size 4KB, output buffer size 0.25KB, NMP channel num 8.
LOG
cmp "$work/toy.log" "$work/all/result.log" || die "another result.log"
out_has "H2-LLM: 8 of 8 channels near memory, 8 FPUs @ 0.6 GHz, 25.6 GB/s an element"
out_has "10 of 13824 machines"

# The same without options, from the artifact's files, and for any number of threads; nothing is written but
# result.log.
mkdir "$work/here" "$work/files"
cd "$work/here"
expect 0 "$tenon" explore
[ "$(find . -type f)" = ./kick_the_tires/result.log ] || die "files: $(find . -type f)"
cmp "$work/toy.log" kick_the_tires/result.log || die "other defaults"
cd "$root"
cat >"$work/files/shape.json" <<'JSON'
{"type": "opt", "layer_num": 32, "hidden_dim": 4096, "intermediate_dim": 16384, "q_head_num": 32, "kv_head_num": 32}
JSON
cat >"$work/files/operator_graph.json" <<'JSON'
{"node": {"q": 6, "k": 7, "v": 8, "qk": 5, "sv": 4, "o": 3, "f1": 2, "f2": 1},
 "edge": [[6, 5], [7, 5], [5, 4], [8, 4], [4, 3], [3, 2], [2, 1]]}
JSON
for threads in 1 3; do
    expect 0 "$tenon" explore --model-shape "$work/files/shape.json" --parser-output-dir "$work/files" \
        --dse-output-dir "$work/files/out" --process-num $threads --json
    cmp "$work/toy.log" "$work/files/out/result.log" || die "other results from files"
    [ $threads = 1 ] && cp "$work/out" "$work/one"
done
cmp "$work/one" "$work/out" || die "results depend on the number of threads"
[ "$(find "$work/files" -type f | wc -l)" = 3 ] || die "more than result.log is written"
json "x['schema'] == 'tenon.explore/1' and x['count'] == 13824 and len(x['machines']) >= 100"
json "x['machines'][0]['machine']['nmp_channels'] == 8 and x['machines'][0]['optimal'] and x['machines'][0]['pareto']"
json "abs(x['machines'][0]['parts'][0]['evaluation']['total'] - 0.1215777305282143) < 1e-9"
json "x['machines'][0]['parts'][0]['serving']['tokens_a_second'] > 500 and not any(m['machine']['area_mm2'] > 6.76 for m in x['machines'])"

# Three lines from fixed dataflows, equal to the reference rows.
python3 - "$tenon" "$work/fixed" <<'PYTHON' || die "fixed dataflows differ from the rows"
import json, re, subprocess, sys
datasets = {"he": (157, 67), "sg": (783, 209), "lb": (1886, 97), "lg": (1971, 17)}
seen = set()
for row in json.load(open("tests/golden/explore/fixed_dataflow.json")):
    if row["dataflow"] in seen or row["batch"] != 4:
        continue
    seen.add(row["dataflow"])
    prompt, generate = datasets[row["dataset"]]
    subprocess.run([sys.argv[1], "explore", "--is-device-fixed", "--is-dataflow-fixed", row["dataflow"], "--model-type", row["model"],
                    "--max-batch-size", "4", "--input-seq-len", str(prompt), "--max-gen-len", str(generate),
                    "--nmp-channel-num-space", str(row["nmp_channels"]), "--fpu-pe-bw-space", "[(8,600,25.6)]",
                    "--input-buffer-size-space", "32", "--weight-buffer-size-space", "32",
                    "--output-buffer-total-size-space", "64", "--dse-output-dir", sys.argv[2], "-q"],
                   check=True, stdout=subprocess.DEVNULL)
    lines = open(sys.argv[2] + "/result.log").read().splitlines()
    assert len(lines) == 3, lines
    for line, start, key in zip(lines, ("Best idv", "Prefill", "Decoding"), ("total", "prefill", "decode")):
        number = re.fullmatch(start + r" latency is (\S+) \(per layer\)\.", line).group(1)
        assert repr(float(number)) == number and abs(float(number) / row[key] - 1) < 1e-12, (line, row)
assert len(seen) == 5, seen
PYTHON

# Spaces of dataflows, element sizes, all channels near memory, and heads that no table of ratios has.
small="--fpu-pe-bw-space [(8,600,25.6)] --input-buffer-size-space 32 --weight-buffer-size-space 32 --output-buffer-total-size-space 64"
best() {
    # shellcheck disable=SC2086 # several options
    expect 0 "$tenon" explore $small --dse-output-dir "$work/best" --json "$@"
    python3 -c "import json, sys; print(json.load(open(sys.argv[1]))['machines'][0]['latency'])" "$work/out"
}
no_worse() { python3 -c "import sys; sys.exit(not float(sys.argv[1]) <= float(sys.argv[2]) * (1 + 1e-9))" "$1" "$2" || die "$3"; }
use="--model-type llama --input-seq-len 783 --max-gen-len 209 --nmp-channel-num-space 6"
# shellcheck disable=SC2086 # several options
{
    union=$(best $use --is-dataflow-fixed union)
    no_worse "$union" "$(best $use --is-dataflow-fixed specpim)" "the union is worse than compute-centric"
    no_worse "$union" "$(best $use --is-dataflow-fixed no)" "the union is worse than data-centric"
    no_worse "$union" 0.15962 "LLaMA SG of batch 16"
    no_worse "$(best $use --precision int4)" "$union" "int4 is slower"
}
best --is-dataflow-fixed specpim --nmp-channel-num-space 8 >"$work/latency"
for heads in 4 16; do
    sed "s/\"opt\"/\"llama\"/; s/\"kv_head_num\": 32/\"kv_head_num\": $heads/" "$work/files/shape.json" >"$work/heads.json"
    best --nmp-channel-num-space 6 --model-type llama --model-shape "$work/heads.json" >"$work/latency"
done

# Two uses of two models, weighted.
expect 0 "$tenon" explore --workload llama3-8b:batch=4,weight=2 --workload palm-8b:batch=1,prompt=157,generate=67 \
    --nmp-channel-num-space 6,8 --dse-output-dir "$work/two" --json
json "[p['workload'] for p in x['machines'][0]['parts']] == ['llama3-8b', 'palm-8b']"
json "abs(sum(p['weight'] * p['evaluation']['total'] for p in x['machines'][0]['parts']) / x['machines'][0]['latency'] - 1) < 1e-6"
