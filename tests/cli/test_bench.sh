#!/bin/sh
# tenon bench and doctor: the keys that scripts read.
. tests/cli/lib.sh

expect 0 "$tenon" bench "$digits" -r 20 --warmup=2 --threads 1
out_has "20 runs, 1 thread"
expect 0 "$tenon" bench "$digits" -i "$images" -r 20 --json
json "x['schema'] == 'tenon.bench/1' and x['runs'] == 20"
json "0 < x['latency_ms']['min'] <= x['latency_ms']['median'] <= x['latency_ms']['p95']"
json "x['compile_ms']['cold'] > x['compile_ms']['warm'] > 0 and x['peak_bytes'] > x['weight_bytes'] > 0"
expect 0 "$tenon" bench "$digits" -r 5 --json --steady
json "x['latency_ms']['min'] > 0 and x['compile_ms'] == {'cold': None, 'warm': None}"
expect 0 "$tenon" bench "$digits" -i "$images" -r 20 --json -v
json "len(x['steps']) > 3 and all(s['launches'] == 1 for s in x['steps'])"
expect 0 "$tenon" bench "$digits" -v -r 5
out_has "conv"
out_has "GFLOP/s"

expect 0 "$tenon" doctor --json
json "x['schema'] == 'tenon.doctor/1' and x['machine']['usable'] >= 1 and x['machine']['memory'] > 0"
json "x['software']['target']['vector_bytes'] >= 16 and 'CUDA' in x['software']['parts']"
expect 0 "$tenon" doctor --measure --json
json "x['roofs']['gflops'] > 0.1 and x['roofs']['read_gbs'] > 0.1 and x['roofs']['copy_gbs'] > 0.1"
json "len(x['profile']) == 16 and x['roofs']['scaling'][0]['threads'] == 1"
expect 0 "$tenon" doctor
out_has "GFLOP/s"
expect 0 "$tenon" bench "$digits" -r 5 --json
json "x['roofs']['gflops'] > 0 and x['gflops'] > 0"
