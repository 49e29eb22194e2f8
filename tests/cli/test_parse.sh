#!/bin/sh
# tenon parse: operators of models, their files, and what cannot be read leaves nothing behind.
. tests/cli/lib.sh
layers=tests/golden/explore/layers

expect 0 "$tenon" parse $layers/llama-dynamo.onnx
out_has "2 layers like llama: hidden 256, inner 896, 32 query and 8 key heads of 8"
expect 0 "$tenon" parse $layers/mixtral-dynamo.onnx --json
json "x['schema'] == 'tenon.parse/1' and len(x['layers']) == 1"
json "x['layers'][0]['shape']['type'] == 'custom' and x['layers'][0]['shape']['layer_num'] == 2"
json "x['layers'][0]['graph']['operator']['f1'] == {'kind': 'experts', 'n': 896, 'k': 256, 'experts': 8, 'active': 2}"
json "x['layers'][0]['others']['top_k'] >= 1"

# The files are those that explore reads.
expect 0 "$tenon" parse $layers/palm-dynamo.onnx -o "$work/palm"
[ "$(ls "$work/palm" | tr '\n' ' ')" = "operator_graph.gv operator_graph.json operator_graph.png shape.json " ] ||
    die "other files"
expect 0 "$tenon" parse palm-8b -o "$work/named"
cat >"$work/check.py" <<'PYTHON'
import json, struct, sys, zlib
a = json.load(open(sys.argv[1] + "/operator_graph.json"))
b = json.load(open(sys.argv[2] + "/operator_graph.json"))
def edges(g):
    name = {i: n for n, i in g["node"].items()}
    return sorted((name[x], name[y]) for x, y in g["edge"])
assert edges(a) == edges(b) and len(edges(a)) == 7, (edges(a), edges(b))
shape = json.load(open(sys.argv[1] + "/shape.json"))
assert shape == {"type": "palm", "layer_num": 2, "hidden_dim": 256, "intermediate_dim": 1024,
                 "q_head_num": 16, "kv_head_num": 1, "head_dim": 16}, shape
gv = open(sys.argv[1] + "/operator_graph.gv").read()
assert '"f1" -> "f2";' in gv and '"o" -> "f1"' not in gv, gv
png = open(sys.argv[1] + "/operator_graph.png", "rb").read()
assert png[:8] == b"\x89PNG\r\n\x1a\n" and png[-8:-4] == b"IEND"
width, height = struct.unpack(">II", png[16:24])
data, at = b"", 8
while at < len(png):
    size, kind = struct.unpack(">I4s", png[at:at + 8])
    data += png[at + 8:at + 8 + size] if kind == b"IDAT" else b""
    at += size + 12
rows = zlib.decompress(data)
assert len(rows) == height * (1 + 3 * width) and len(set(rows)) > 8
PYTHON
python3 "$work/check.py" "$work/palm" "$work/named" || die "the files of palm"
expect 0 "$tenon" explore --model-type palm --model-shape "$work/named/shape.json" \
    --parser-output-dir "$work/named" --dse-output-dir "$work/a" --quiet
expect 0 "$tenon" explore --model-type palm --dse-output-dir "$work/b" --quiet
cmp "$work/a/result.log" "$work/b/result.log" || die "another machine with the written files"

# A model is a workload of explore.
for model in llama-dynamo mixtral-dynamo; do
    expect 0 "$tenon" explore --workload "$layers/$model.onnx:batch=1,prompt=64,generate=16,context=128" \
        --dse-output-dir "$work/c" --quiet
    out_has "$model"
done

# Kinds of layers go to folders of their own.
mkdir "$work/model"
cat >"$work/model/config.json" <<'JSON'
{"model_type": "deepseek_v2", "hidden_size": 2048, "num_hidden_layers": 27, "num_attention_heads": 16,
 "intermediate_size": 10944, "n_routed_experts": 64, "num_experts_per_tok": 6, "moe_intermediate_size": 1408,
 "n_shared_experts": 2, "first_k_dense_replace": 1, "q_lora_rank": null, "kv_lora_rank": 512,
 "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
JSON
expect 0 "$tenon" parse "$work/model" -o "$work/kinds" --json
json "[l['shape']['layer_num'] for l in x['layers']] == [1, 26]"
[ -f "$work/kinds/layer2/operator_graph.png" ] && [ ! -e "$work/kinds/shape.json" ] || die "folders"

# What cannot be read leaves nothing.
refused() {
    expect "$1" "$tenon" parse "$2" -o "$work/none"
    nothing_on out
    err_has "$3"
    [ ! -e "$work/none" ] || die "$2 left files"
}
refused 1 $digits "no attention"
refused 1 "$work/absent.onnx" "No such file"
head -c 5000 $layers/llama-dynamo.onnx >"$work/cut.onnx"
refused 1 "$work/cut.onnx" "cut.onnx"
echo '{"model_type": "mamba"}' >"$work/config.json"
refused 1 "$work/config.json" "model_type 'mamba' is not known"
mkdir -p "$work/blocked/operator_graph.png"
expect 1 "$tenon" parse palm-8b -o "$work/blocked"
[ "$(ls "$work/blocked")" = operator_graph.png ] || die "files of a run that failed"
expect 2 "$tenon" parse
