#!/bin/sh
# tenon inspect NAME: built-in models, looked at without weights, at any size.
. tests/cli/lib.sh

# check NAME PARAMETERS TENSORS PART STRUCTURE INPUT: PART of the parameters, at least, is used for each token.
check() {
    expect 0 "$tenon" inspect "$1" --json
    json "x['parameters'] == $2 and x['tensors'] == $3 and x['memory']['weights'] == 4 * $2"
    json "x['flops'] > 2 * 256 * x['parameters'] * $4 and x['peak_bytes'] > 4 * $2 and x['groups']"
    json "x['structure'] == $5"
    json "[p['text'] for p in x['inputs']] == ['$6']"
}
check llama3_debugmodel 6163712 57 0.8 "dict(layers=6, d_model=256, heads=16, kv_heads=16, head_dim=16, ffn=768, vocab=2048)" 'i32[1,256]'
check deepseek_v3_debugmodel 33014016 83 0.3 "dict(layers=6, d_model=256, heads=16, kv_heads=16, head_dim=192, ffn=1024, vocab=2048)" 'i32[1,256]'
check llama3_8b 8030261248 291 0.9 "dict(layers=32, d_model=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256)" 'i32[1,256]'
check deepseek_v3_16b 15706484224 377 0.1 "dict(layers=27, d_model=2048, heads=16, kv_heads=16, head_dim=192, ffn=10944, vocab=102400)" 'i32[1,256]'
check resnet18 11689512 62 0.1 None 'f32[1,3,224,224]'
expect 0 "$tenon" inspect llama3_debugmodel --dim batch=4 --dim sequence=512 --json
json "x['inputs'][0]['shape'] == [4, 512] and x['outputs'][0]['shape'] == [4, 512, 2048]"
expect 0 "$tenon" inspect llama3_debugmodel
out_has "6.16 M in 57 tensors (6163712, 23.5 MiB)"
expect 1 "$tenon" inspect llama3_8c
err_has "did you mean 'llama3_8b'"
expect 2 "$tenon" inspect llama3_8b --dim N=3
says "--dim N: a model by name has the sizes batch and sequence"
# 30 GB of weights in 3 GB of address space.
(ulimit -v 3000000 && "$tenon" inspect llama3_8b -q >"$work/out") || die "inspect allocates weights"
