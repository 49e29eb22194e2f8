#!/bin/sh
# tenon train: what can be wrong with a configuration, with data and with a run, each with its whole message.
. tests/cli/lib.sh
. tests/cli/digits.sh

# wrong STATUS MESSAGE ARGUMENT…: with the configuration of the digits.
wrong() {
    want=$1
    text=$2
    shift 2
    expect "$want" "$tenon" train "$work/run.json" "$@"
    says "$text"
}
# wrong_model STATUS MESSAGE MODEL ARGUMENT…
wrong_model() {
    want=$1
    text=$2
    shift 2
    expect "$want" "$tenon" train "$@"
    says "$text"
}
# wrong_file MESSAGE JSON: in a file.
wrong_file() {
    echo "$2" >"$work/bad.json"
    expect 1 "$tenon" train "$work/bad.json"
    says "$work/bad.json$1"
}

# What is not said.
wrong_model 2 "no data; --data PATH (data.path) names a folder or a file" mlp
wrong_model 2 "how long? --steps N (train.steps) says so" mlp --data "$work/digits"
wrong 2 "--resume needs --checkpoint.folder DIR" --resume

# Names.
expect 2 "$tenon" train resnet81 --data "$work/digits" --steps 1
err_has "did you mean 'resnet18'"
wrong 2 "there is no field 'lrr' in optimizer; did you mean lr; there is kind, lr, betas, eps, weight_decay, momentum, nesterov, clip_norm" --optimizer.lrr 1
wrong 2 "there is no section 'optimiser'; did you mean optimizer; there is model, data, optimizer, schedule, train, checkpoint" --optimiser.lr 1
wrong 2 "there is no field 'hiden' in model; did you mean hidden; there is config, frozen, features, hidden, classes" --model.hiden 4
expect 2 "$tenon" train "$work/run.json" --optimizer.lr
err_has "needs VALUE"

# Types and ranges.
wrong 2 "optimizer.lr = fast; expected a number from 0" --optimizer.lr fast
wrong 2 "optimizer.lr = -1; expected a number from 0" --optimizer.lr -1
wrong 2 "optimizer.clip_norm = 1e400; expected a number from 0" --optimizer.clip_norm 1e400
wrong 2 "train.steps = 1.5; expected a whole number from 1" --steps 1.5
wrong 2 "train.steps = 0; expected a whole number from 1" --steps 0
wrong 2 "data.batch = 0; expected a whole number from 1 to 16777216" --data.batch 0
wrong 2 "data.workers = 9999; expected a whole number from 0 to 1024" --data.workers 9999
wrong 2 "train.seed = -1; expected a whole number" --train.seed -1
wrong 2 "data.random = yes; expected true or false" --data.random yes
wrong 2 "train.precision = fp16; expected f32|bf16|f16" --train.precision fp16
wrong 2 "optimizer.kind = adm; expected adamw|adam|sgd|lion" --optimizer.kind adm
wrong 2 "schedule.milestones = 3,2.5; expected up to 64 whole numbers in a list" --schedule.milestones 3,2.5
wrong 2 "model: hidden = 'a'; expected up to 8 whole numbers with commas, from 0 to 16777216" --model.hidden a
wrong 1 "optimizer.betas = 0.9,1.5; expected two numbers from 0 to below 1, such as 0.9,0.95" --optimizer.betas 0.9,1.5
wrong 1 "data.split = 1 leaves 0 of 200 samples to train on" --data.split 1 --data "$work/digits/train"
wrong 1 "while opening the data: data.transforms: item 1: there is no transform 'rezise'; did you mean 'resize'?" --data.transforms '[{"name": "rezise"}]'
wrong 1 "while opening the data: data.transforms: item 2: resize: height: expected a number of pixels" --data.transforms '["flip_horizontal", {"name": "resize", "height": "big"}]'
wrong 1 "while opening the data: images: 7 channels; expected 1 or 3" --data.channels 7

# Files of configurations.
wrong_file ': train.steps = "ten"; expected a whole number from 1' '{"model": {"config": "mlp"}, "train": {"steps": "ten"}}'
wrong_file ": train: expected a section, which is an object with fields" '{"model": {"config": "mlp"}, "train": 3}'
wrong_file ": there is no field 'stepz' in train; did you mean steps; there is steps, seed, precision, accumulate, eval_every, eval_batches, log_every, log, tensorboard" '{"model": {"config": "mlp"}, "train": {"stepz": 3}}'
wrong_file ':1:53: string or '"'}' expected near '}'" '{"model": {"config": "mlp"}, "train": {"steps": 10, }}'
wrong_file ': no model; expected "model": {"config": "resnet18"}' '{"train": {"steps": 10}}'
wrong_file ": data.path = 3; expected a text" '{"model": {"config": "mlp"}, "data": {"path": 3}}'
wrong_file ": expected an object with sections" '[]'
wrong_model 1 "unable to open $work/none.json: No such file or directory" "$work/none.json"

# Sizes that do not fit each other.
wrong_model 1 "model: llama3: heads = 7 does not divide dim = 256" llama3_debugmodel --data README.md --steps 1 --model.heads 7
wrong_model 1 "model: llama3: kv_heads = 3 does not divide heads = 16" llama3_debugmodel --data README.md --steps 1 --model.kv_heads 3
wrong_model 1 "model: gpt2: heads = 3 does not divide dim = 128" gpt2_debugmodel --data README.md --steps 1 --model.heads 3
wrong_model 1 "model: deepseek_v3: top_k = 9 of experts = 8" deepseek_v3_debugmodel --data README.md --steps 1 --model.top_k 9

# Data.
wrong 1 "while opening the data: $work/none: No such file or directory" --data "$work/none"
mkdir -p "$work/empty" "$work/hollow/a" "$work/hollow/b"
wrong 1 "while opening the data: $work/empty: no folders in it; expected $work/empty/<class>/<image>.jpg, .jpeg or .png" --data "$work/empty"
wrong 1 "while opening the data: $work/hollow: no images in its 2 folders; expected $work/hollow/<class>/<image>.jpg, .jpeg or .png" --data "$work/hollow"
wrong_model 1 "while opening the data: $work/empty: no files in this folder" gpt2_debugmodel --data "$work/empty" --steps 1
wrong 1 "$work/digits has 10 classes, the model is for 3; leave out model.classes, or say --model.classes 10" --model.classes 3
wrong 1 "data.kind: mlp reads images" --data.kind text
wrong 1 "data.batch = 500, but $work/digits has only 200 images to train on; --data.batch 200 would do" --data.batch 500
windows=$((($(wc -c <README.md) - 1) / 256))
wrong_model 1 "data.batch = 500, but README.md has only $windows windows of data.sequence tokens to train on; --data.batch $windows would do, or a shorter --data.sequence" gpt2_debugmodel --data README.md --steps 1 --data.batch 500

# Files to write.
wrong 1 "train.log: cannot open $work/none/log: No such file or directory" --train.log "$work/none/log"
wrong 1 "--report: $work/none/page.html: cannot create: No such file or directory" --report "$work/none/page.html"
wrong 1 "train.tensorboard: /dev/null/board: cannot create: Not a directory" --train.tensorboard /dev/null/board
expect 1 "$tenon" train "$work/run.json" --checkpoint.folder "$work/digits/train/0/0000.png"
err_has "0000.png"
expect 0 "$tenon" train "$work/run.json" -q --checkpoint.folder "$work/kept" --steps 2
wrong 1 "checkpoint.folder: $work/kept holds a run's checkpoint of step 2; --resume goes on from it, another checkpoint.folder begins a new run" --checkpoint.folder "$work/kept"

# A corrupt image is skipped, named and counted.
mkdir "$work/broken"
cp -R "$work/digits/train" "$work/broken/train"
printf '\377\330\377\340\0\020JFIF' >"$work/broken/train/3/broken.jpg"
: >"$work/broken/train/4/nothing.png"
expect 0 "$tenon" train "$work/run.json" --data "$work/broken" --steps 10 --train.log "$work/log"
sort "$work/err" >"$work/sorted"
cat >"$work/want" <<TEXT
tenon: 2 corrupt images were skipped, named above
tenon: warning: skipped: $work/broken/train/3/broken.jpg: JPEG: Premature end of JPEG file
tenon: warning: skipped: $work/broken/train/4/nothing.png: an empty file
TEXT
diff "$work/want" "$work/sorted" || die "skipped images are told otherwise"
out_has "  skipped 2"
tail -1 "$work/log" | grep -q '"skipped":2' || die "skipped images are not in the log"

# A loss that is not finite ends the run, with the step and the last checkpoint.
expect 1 "$tenon" train "$work/run.json" --optimizer.kind sgd --optimizer.lr 1e38 --schedule.kind constant \
    --optimizer.clip_norm 0 --schedule.warmup 0 --checkpoint.folder "$work/nan" --checkpoint.every 1
says "step 2: the loss of update 2 is NaN: nothing was changed; a lower learning rate, clipped gradients or other data may help; the last checkpoint is $work/nan/step-1, --resume goes on from it"
