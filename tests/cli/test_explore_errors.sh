#!/bin/sh
# tenon explore: what can be wrong with options, files and models of users. Each case has its message, a status that is
# not 0, and leaves no file.
. tests/cli/lib.sh
log=$work/log

# wrong STATUS MESSAGE ARGUMENT…
wrong() {
    want=$1
    text=$2
    shift 2
    expect "$want" timeout 20 "$tenon" explore --dse-output-dir "$log" --report "$work/page.html" "$@"
    says "$text"
    nothing_on out
    [ ! -e "$log" ] && [ ! -e "$work/page.html" ] || die "files after: $text"
}
# wrong_graph MESSAGE JSON, wrong_shape MESSAGE JSON
mkdir "$work/parsed"
graph=$work/parsed/operator_graph.json
wrong_graph() {
    echo "$2" >"$graph"
    wrong 1 "$graph: $1" --parser-output-dir "$work/parsed"
}
wrong_shape() {
    echo "$2" >"$work/shape.json"
    wrong 1 "$work/shape.json: $1" --model-shape "$work/shape.json"
}

# Operator graphs.
wrong_graph "operator 'qk' is missing; qk, sv, k and v are required" '{"node":{"q":6,"k":7,"v":8,"sv":4},"edge":[]}'
wrong_graph "operator 'sv' is missing; qk, sv, k and v are required" '{"node":{"q":6,"k":7,"v":8,"qk":4},"edge":[]}'
wrong_graph "operator 'k' is missing; qk, sv, k and v are required" '{"node":{"q":6,"v":8,"sv":4,"qk":3},"edge":[]}'
wrong_graph "operator 'v' is missing; qk, sv, k and v are required" '{"node":{"q":6,"k":8,"sv":4,"qk":3},"edge":[]}'
wrong_graph "the operators q qk sv o wait for each other in a cycle" \
    '{"node":{"q":6,"k":7,"v":8,"qk":5,"sv":4,"o":3},"edge":[[6,5],[7,5],[5,4],[8,4],[4,3],[3,6]]}'
wrong_graph "operator 'moe' is not one of q k v qk sv o f1 f2 f3, and 'operator' does not say its size" \
    '{"node":{"q":6,"k":7,"v":8,"qk":5,"sv":4,"moe":3},"edge":[]}'
wrong_graph "edge 0: no node has id 99" '{"node":{"q":6,"k":7,"v":8,"qk":5,"sv":4},"edge":[[6,99]]}'
wrong_graph "'q' and 'k' have the same id 6" '{"node":{"q":6,"k":6,"v":8,"qk":5,"sv":4},"edge":[]}'
wrong_graph "'node' is no object" '{"node":[],"edge":{}}'
wrong_graph "the file holds no object" '[]'

# Hostile JSON.
wrong_graph "line 1, column 18: duplicate object key near '\"q\"'" '{"node":{"q":6,"q":7},"edge":[]}'
wrong_graph "line 2, column 0: unexpected token near end of file" '{"node":'
wrong_graph "line 1, column 16: invalid token near 'NaN'" '{"node":{"q":NaN}}'
wrong_graph "line 1, column 18: real number overflow near '1e999'" '{"node":{"q":1e999}}'
wrong_graph "line 1, column 33: too big integer near '99999999999999999999'" '{"node":{"q":99999999999999999999}}'
wrong_graph "line 1, column 2049: maximum parsing depth reached near '['" "$(python3 -c "print('[' * 100000)")"
wrong 1 "$work/parsed/none.json: no file and no built-in machine has that name" --machines "$work/parsed/none.json"
python3 - "$graph" "$work/machines.json" <<'PYTHON'
import json, sys
open(sys.argv[1], "w").write('{"node": {' + ",".join('"a%d": %d' % (i, i) for i in range(10**5)) + "}}")
machine = json.load(open("machines/h2_llm_space.json"))
machine["space"]["channels"] = [6] * 10**5
json.dump(machine, open(sys.argv[2], "w"))
PYTHON
wrong 1 "$graph: operator 'a0' is not one of q k v qk sv o f1 f2 f3, and 'operator' does not say its size" --parser-output-dir "$work/parsed"
expect 1 "$tenon" explore --dse-output-dir "$log" --machines "$work/machines.json"
err_has "machines.json: space.channels"
rm "$graph" "$work/machines.json"

# Shapes.
shape='{"type":"llama","layer_num":32,"hidden_dim":4096,"intermediate_dim":14336,"q_head_num":32,"kv_head_num":8}'
change() { echo "$shape" | sed "$1"; }
wrong_shape "32 query heads do not divide among 5 key heads" "$(change 's/:8}/:5}/')"
wrong_shape "hidden_dim 4096 does not divide among 30 query heads; 'head_dim' may say their width" \
    "$(change 's/:8}/:6}/; s/"q_head_num":32/"q_head_num":30/')"
wrong_shape "'kv_head_num' is missing" "$(change 's/,"kv_head_num":8//')"
wrong_shape "'bert' is no type of layer: opt, llama and palm are" "$(change 's/llama/bert/')"
wrong_shape "'hidden_dim' is no integer from 1 to 2^24" "$(change 's/4096/1e300/')"
wrong_shape "'hidden_dim' is no integer from 1 to 2^24" "$(change 's/4096/4611686018427387904/')"
wrong_shape "'layer_num' is no integer from 1 to 2^24" "$(change 's/"layer_num":32/"layer_num":-1/')"

# Options.
wrong 2 "--nmp-channel-num-space: 9 is not a whole number up to the memory's 8 channels" --nmp-channel-num-space 6,9
wrong 2 "--nmp-channel-num-space: 2.5 is not a whole number up to the memory's 8 channels" --nmp-channel-num-space 2.5
wrong 2 "--nmp-channel-num-space: 'nan' is not a list of numbers of at least 0" --nmp-channel-num-space nan
wrong 2 "--nmp-channel-num-space: more than 64 values" --nmp-channel-num-space "$(seq -s, 0 20000)"
wrong 2 "--fpu-pe-bw-space: '[(8,nan,6.4)]' is not a list such as [(8,400,6.4),(4,1000,12.8)] of FPUs, MHz and GB/s" \
    --fpu-pe-bw-space "[(8,nan,6.4)]"
wrong 2 "--input-buffer-size-space: '1e999' is not a list of numbers of at least 0.001" --input-buffer-size-space 1e999
wrong 2 "--max-batch-size: '0' is not a whole number from 1 to 2^24" --max-batch-size 0
wrong 2 "--input-seq-len 4096 is longer than --max-seq-len 2048" --input-seq-len 4096
wrong 2 "--precision: 'fp8' is not fp16, int8 or int4" --precision fp8
wrong 2 "--is-device-fixed: each list of the space needs one value; there are 13824 machines" --is-device-fixed
wrong 2 "--is-dataflow-fixed npu_only needs one machine and one workload (--is-device-fixed); there are 13824 and 1" \
    --is-dataflow-fixed npu_only
wrong 2 "--total-channel-num: at most 64 channels" --total-channel-num 65
wrong 2 "--workload: 'tokens' is not batch, prompt, generate, context or weight" --workload opt-6.7b:tokens=3
wrong 2 "--dataflows and --is-dataflow-fixed say the same; give one" --dataflows union --is-dataflow-fixed union
wrong 2 "-o is of explore reproduce; --dse-output-dir takes result.log" -o "$work"
wrong 2 "unknown action 'frobnicate'; eval and reproduce are known, and none searches" frobnicate
wrong 2 "explore eval needs ROWS.json" eval
wrong 1 "cannot open '$work/none.json'" eval "$work/none.json"
wrong 1 "no machine of the family holds the workload; the first of 13824: opt-6.7b keeps 28672 MB of weights, keys and values; the memory of H2-LLM has 128 MB" --bank-memory-capacity 1
wrong 1 "no machine of the family holds the workload: more banks, larger banks, fewer sequences or --dataflows union would help" --bank-memory-capacity 1 --method genetic
wrong 1 "no element of the family has at most 0.1 mm² (--area-limit): the smallest has 2.803" --area-limit 0.1
sed 's/"value": 6.76/"value": 0.1/' machines/h2_llm.json >"$work/machines.json"
wrong 1 "no element of the family has at most 0.1 mm² (near_memory.area_limit, which --area-limit replaces): the smallest has 3.646" --machines "$work/machines.json"
wrong 1 "no machine of the family holds the workload; the first of 3456: opt has no dataflow of this space on H2-LLM: some operator cannot be split among all channels, as the data-centric space wants; the union has other ways" --nmp-channel-num-space 6 \
    --model-shape "$(echo '{"type":"opt","layer_num":1,"hidden_dim":1,"intermediate_dim":1,"q_head_num":1,"kv_head_num":1}' >"$work/shape.json" &&
        echo "$work/shape.json")"
wrong 1 "--objective edp needs energy, which cost models npu_roofline and nmp_roofline do not know; nmp_dataflow does, in --processor-model and --near-memory-model" --objective edp
wrong 2 "--seed: '-1' is not a whole number from 0 to 2^64 - 1" --seed -1
wrong 2 "--seed: '18446744073709551616' is not a whole number from 0 to 2^64 - 1" --seed 18446744073709551616
wrong 2 "--machines and --nmp-channel-num-space both describe the family; give one" --machines H2-LLM --nmp-channel-num-space 6
wrong 2 "--workload and --model-type both say what runs; give one" --workload opt-6.7b --model-type llama
single="--nmp-channel-num-space 6 --fpu-pe-bw-space [(8,600,25.6)] --input-buffer-size-space 32 --weight-buffer-size-space 32 --output-buffer-total-size-space 64"
# shellcheck disable=SC2086 # several options
wrong 2 "--report draws what a search finds; --is-dataflow-fixed fc_offloading searches nothing" $single --is-dataflow-fixed fc_offloading

# Models of users: programs that are none, crash, or answer what is no cost. One that hangs: unit/machine/user_models.
model() {
    printf '#!/bin/sh\nread -r hello\necho "{\\"name\\": \\"mine\\", \\"separable\\": true}"\n%s\n' "$1" >"$work/model"
    chmod +x "$work/model"
}
# wrong_model TEXT SCRIPT
wrong_model() {
    model "$2"
    # shellcheck disable=SC2086 # several options
    expect 1 timeout 20 "$tenon" explore $single --dse-output-dir "$log" --report "$work/page.html" \
        --near-memory-model "process:$work/model"
    err_has "$1"
    err_has "while exploring machine 0 of H2-LLM"
    [ ! -e "$log" ] && [ ! -e "$work/page.html" ] || die "files after: $1"
}
wrong 1 "starting 'false': the model ended with status 1" --near-memory-model process:false
wrong 1 "starting 'yes nonsense': the model answers 'nonsense', which is no JSON object" --near-memory-model "process:yes nonsense"
wrong_model "the model ended with status 139" 'read -r q; kill -SEGV $$'
wrong_model "the model ended with status 3" 'read -r q; exit 3'
wrong_model "answers '{\"latency\": NaN}', which is no JSON object" 'while read -r q; do echo "{\"latency\": NaN}"; done'
wrong_model "where 'latency' is not a number of at least 0" 'while read -r q; do echo "{\"latency\": -1}"; done'
wrong_model "answers '{\"energy\": 1}', where 'latency' is not a number" 'while read -r q; do echo "{\"energy\": 1}"; done'
wrong_model "the model answers: out of oil" 'while read -r q; do echo "{\"error\": \"out of oil\"}"; done'
model 'while read -r q; do echo "{\"latency\": 1e-5}"; done'
# shellcheck disable=SC2086 # several options
expect 0 "$tenon" explore $single --dse-output-dir "$log" --near-memory-model "process:$work/model"
