"""Hostile files that are no model: programs, checkpoints, images, machines, names of outputs, folders to verify.

Most are made of what the command itself writes. Each function adds its cases to the Tests of run.py."""

import json
import os
import shutil
import struct
import subprocess
import zlib

import files
import wire

PETA = 1 << 50


def made(t, *arguments):
    """What the command writes, unchanged, is the beginning of many cases."""
    subprocess.run([t.tenon, *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL, cwd=t.folder)


def replaced(data, at, value):
    return data[:at] + value + data[at + len(value) :]


def flipped(data, at):
    return replaced(data, at, bytes([data[at] ^ 0x5A]))


# ---------------------------------------------------------------- programs


def sections(program):
    """(kind, offset, size) of each section."""
    count = struct.unpack_from("<I", program, 12)[0]
    return [struct.unpack_from("<IIQQ", program, 64 + 40 * i)[::2][:1] +
            struct.unpack_from("<QQ", program, 64 + 40 * i + 8) for i in range(count)]


def add_programs(t):
    model = t.write("programs/model.onnx", wire.model(files.WEIGHT + wire.node("MatMul", "x w", "y"), (("x", [4, 2]),)))
    whole = os.path.join(t.folder, "programs", "whole.tn")
    made(t, "compile", model, "-o", whole, "--no-cache")
    with open(whole, "rb") as f:
        good = f.read()
    huge = struct.pack("<Q", PETA)
    cases = [
        ("empty", b"", "there is no graph in it"),
        ("magic", flipped(good, 0), "not an ONNX model"),
        ("version", replaced(good, 8, struct.pack("<I", 999)), "version"),
        ("no_sections", replaced(good, 12, bytes(4)), "damaged program file"),
        ("many_sections", replaced(good, 12, b"\xff" * 4), "damaged program file"),
        ("petabyte", replaced(good, 16, huge), "cut off"),
        ("cut_head", good[:40], "not a program file"),
        ("cut_table", good[:80], "cut off"),
        ("cut", good[:-1], "cut off"),
        ("longer", good + bytes(4096), "damaged program file"),
        ("table", flipped(good, 64 + 8), "damaged program file"),
        ("section_beyond", replaced(good, 64 + 8, huge), "damaged program file"),
        ("section_size", replaced(good, 64 + 16, b"\xff" * 8), "damaged program file"),
    ]
    for kind, offset, size in sections(good):
        for part in range(3):
            cases.append((f"section_{kind}_{part}", flipped(good, offset + (size - 1) * part // 2), "damaged program file"))
    for name, data, words in cases:
        path = t.write(f"programs/{name}.tn", data)
        t.add(path, words, path, "run", path, "--random", "--interpret")
    t.add(whole, None, whole, "run", whole, "--random", "--interpret")


# ---------------------------------------------------------------- images


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows=None, before=b"", interlaced=0):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced))
    rows = bytes((width + 1) * height) if rows is None else rows
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + before + end


def jpeg(width, height, body=b""):
    """A head that promises pixels, and little behind it."""
    frame = b"\xff\xc0\0\x0b\x08" + struct.pack(">HH", height, width) + b"\1\1\x11\0"
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + frame + body + b"\xff\xd9"


SOUND = png(4, 4)
BOMB = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(60000000)))
# (name, bytes, words when all are such; None: it is read)
IMAGES = [
    ("empty.png", b"", "an empty file"),
    ("other.png", b"GIF89a" + bytes(40), "neither JPEG nor PNG"),
    ("size_0.png", png(0, 4), "PNG: Invalid IHDR data"),
    ("size_most.png", png(0x7FFFFFFF, 0x7FFFFFFF, b""), "PNG: Invalid IHDR data"),
    ("size_large.png", png(900000, 900000, b""), "the limit is"),
    ("size_interlaced.png", png(999999, 999999, b"", interlaced=1), "the limit is"),
    ("cut.png", SOUND[:20], "PNG: the file ends early"),
    ("chunk_length.png", SOUND[:33] + b"\xff\xff\xff\xf0IDAT", "PNG"),
    ("chunk_sum.png", flipped(SOUND, 29), "PNG: IHDR: CRC error"),
    ("bomb.png", png(4, 4, None, BOMB), None),
    ("many_chunks.png", png(4, 4, None, chunk(b"tEXt", b"a\0b") * 200000), None),
    ("cut.jpg", jpeg(4, 4)[:12], "JPEG"),
    ("size_0.jpg", jpeg(0, 0), "JPEG"),
    ("size_most.jpg", jpeg(65535, 65535), "JPEG"),
    ("no_tables.jpg", jpeg(4, 4, b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(50)), "JPEG"),
    ("table_length.jpg", jpeg(4, 4, b"\xff\xdb\xff\xff\0"), "JPEG"),
]
TRAIN = ["--model.features", "16", "--data.channels", "1", "--steps", "1", "--data.batch", "2", "--interpret", "--no-cache"]


def image_folder(t, name, image):
    for label in "ab":
        os.makedirs(os.path.join(t.folder, name, label))
        for i in range(2):
            t.write(f"{name}/{label}/{i}.png", image)
    return os.path.join(t.folder, name)


def add_images(t):
    for name, data, words in IMAGES:
        folder = image_folder(t, f"images/{name}", data)
        t.cases.append((folder, ["train", "mlp", "--data", folder, *TRAIN], words, ".png"))
    mixed = image_folder(t, "images/mixed", SOUND)
    for name, data, _ in IMAGES:
        t.write(f"images/mixed/a/{name}", data)
    t.cases.append((mixed, ["train", "mlp", "--data", mixed, *TRAIN], None, mixed))


# ---------------------------------------------------------------- checkpoints


def manifest_with(good, **changes):
    m = json.loads(good)
    m["files"][0] |= {k: v for k, v in changes.items() if k in m["files"][0]}
    m |= {k: v for k, v in changes.items() if k not in m["files"][0]}
    return json.dumps(m).encode()


def add_checkpoints(t):
    data = image_folder(t, "samples", SOUND)
    good = os.path.join(t.folder, "checkpoint")
    made(t, "train", "mlp", "--data", data, *TRAIN, "--checkpoint.folder", good)
    step = os.path.join(good, "step-1")
    with open(os.path.join(step, "manifest.json"), "rb") as f:
        manifest = f.read()
    with open(os.path.join(step, "model.safetensors"), "rb") as f:
        weights = f.read()
    t.write("model.safetensors", weights)
    cases = [
        ("empty", "manifest.json", b"", "'[' or '{' expected"),
        ("deep", "manifest.json", b"[" * 1000000, "more memory than twice"),
        ("twice", "manifest.json", b'{"format":1,"format":1}', "duplicate"),
        ("format", "manifest.json", b'{"format":"other"}', "not the manifest of a checkpoint"),
        ("version", "manifest.json", manifest_with(manifest, version=9), "of another version"),
        ("step", "manifest.json", manifest_with(manifest, step=7), "not the manifest of step 1"),
        ("up", "manifest.json", manifest_with(manifest, name="../../model.safetensors"), "entry 0 of the files is damaged"),
        ("absolute", "manifest.json", manifest_with(manifest, name="/etc/passwd"), "entry 0 of the files is damaged"),
        ("hidden", "manifest.json", manifest_with(manifest, name=".."), "entry 0 of the files is damaged"),
        ("negative", "manifest.json", manifest_with(manifest, bytes=-1), "entry 0 of the files is damaged"),
        ("petabyte", "manifest.json", manifest_with(manifest, bytes=PETA), "model.safetensors: the file is not what was saved: its length differs"),
        ("sum", "manifest.json", manifest_with(manifest, xxh3_128="0" * 32), "model.safetensors: the file is not what was saved: its checksum differs"),
        ("sum_short", "manifest.json", manifest_with(manifest, xxh3_128="0"), "entry 0 of the files is damaged"),
        ("absent", "manifest.json", manifest_with(manifest, name="none"), "No such file"),
        ("weights", "model.safetensors", flipped(weights, len(weights) - 1), "its checksum differs"),
        ("weights_cut", "model.safetensors", weights[:-1], "its length differs"),
        ("loader", "loader.bin", bytes(8), "its length differs"),
    ]
    for name, file, content, words in cases:
        folder = shutil.copytree(good, os.path.join(t.folder, "checkpoints", name))
        path = t.write(f"checkpoints/{name}/step-1/{file}", content)
        add_resumed(t, folder, data, words, file if file != "manifest.json" else "step-1")
        assert os.path.exists(path)
    folder = shutil.copytree(good, os.path.join(t.folder, "checkpoints", "link"))
    os.remove(os.path.join(folder, "step-1", "model.safetensors"))
    os.symlink("../../../model.safetensors", os.path.join(folder, "step-1", "model.safetensors"))
    add_resumed(t, folder, data, "symbolic link", "model.safetensors")
    add_resumed(t, good, data, None, "")


def add_resumed(t, folder, data, words, name):
    arguments = ["train", "mlp", "--data", data, *TRAIN, "--checkpoint.folder", folder, "--resume"]
    arguments[arguments.index("--steps") + 1] = "2"
    t.cases.append((folder, arguments, words, name))


# ---------------------------------------------------------------- machines


def add_machines(t):
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "machines", "npu.json"), "rb") as f:
        good = json.load(f)

    def changed(section, **fields):
        return json.dumps({**good, section: {**good[section], **fields}}).encode()

    cases = [
        ("empty", b"", "'[' or '{' expected"),
        ("deep", b"[" * 1000000, "more memory than twice"),
        ("many", b"[" + b"{}," * 400000 + b"1]", "more memory than twice"),
        ("no_object", b"[]", "machines/no_object.json"),
        ("not_utf8", b'{"schema":"\xff"}', "unable to decode byte"),
        ("schema", b'{"schema":"other"}', "schema"),
        ("twice", b'{"schema":1,"schema":1}', "duplicate"),
        ("channels_0", changed("memory", channels=0), "memory.channels"),
        ("channels_negative", changed("memory", channels=-8), "memory.channels"),
        ("channels_most", changed("memory", channels=files.MOST), "memory.channels"),
        ("channels_text", changed("memory", channels="eight"), "memory.channels"),
        ("bank_bytes_most", changed("memory", bank_bytes={"value": 1e300, "unit": "MiB"}), "memory.bank_bytes"),
        ("bandwidth_0", changed("memory", bandwidth={"value": 0, "unit": "GB/s"}), "memory.bandwidth"),
        ("bandwidth_unit", changed("memory", bandwidth={"value": 1, "unit": "furlongs"}), "memory.bandwidth"),
        ("bandwidth_overflow", changed("memory", bandwidth={"value": 7, "unit": "GB/s"}).replace(b'"value": 7', b'"value": 1e999'),
         "real number overflow"),
        ("utilization", changed("processor", utilization=-1), "processor.utilization"),
        ("field", changed("memory", chanels=8), "chanels"),
    ]
    for name, data, words in cases:
        path = t.write(f"machines/{name}.json", data)
        t.add(path, words, path, "explore", "--machines", path, "--dse-output-dir", os.path.join(t.folder, "machines", "log"))


# ---------------------------------------------------------------- names of outputs


def add_outputs(t):
    """A model names the files of its results: they must lie in the folder asked for."""
    def model(name):
        body = wire.field(1, wire.field(1, "x") + wire.field(2, name) + wire.field(4, "Relu"))
        kind = wire.field(2, wire.field(1, wire.number(1, wire.FLOAT)))
        ends = wire.field(11, wire.port("x", [2, 3])) + wire.field(12, wire.field(1, name) + kind)
        sets = wire.field(8, wire.field(1, "") + wire.number(2, 21))
        return wire.number(1, 9) + sets + wire.field(7, wire.field(2, "g") + body + ends)

    names = ["../../escaped", "/tmp/escaped", "..", ".", "a/../../escaped", "~", "-rf", "a\nb", "\x1b[2J", "a" * 200, "%n%s"]
    for n, name in enumerate(names):
        folder = os.path.join(t.folder, "outputs", str(n), "deep", "inside")
        path = t.write(f"outputs/{n}.onnx", model(name))
        expected = os.path.join(folder, name.replace("/", "_") + ".npy")
        t.cases.append((f"output {name!a:.30}", ["run", path, "--random", "--interpret", "-o", folder], None, "", expected))
    path = t.write("outputs/long.onnx", model("a" * 5000))
    folder = os.path.join(t.folder, "outputs", "long")
    t.cases.append(("output of a long name", ["run", path, "--random", "--interpret", "-o", folder], "while writing output", "output"))


# ---------------------------------------------------------------- folders to verify


def verified(t, name, change):
    folder = os.path.join(t.folder, "verified", name)
    os.makedirs(os.path.join(folder, "test_data_set_0"))
    inside = f"verified/{name}"
    x = wire.tensor("x", [2, 3], wire.FLOAT, bytes(24))
    t.write(f"{inside}/model.onnx", files.one("Relu"))
    t.write(f"{inside}/test_data_set_0/input_0.pb", x)
    t.write(f"{inside}/test_data_set_0/output_0.pb", wire.tensor("y", [2, 3], wire.FLOAT, bytes(24)))
    change(folder)
    return folder


def instead(path, make):
    def change(folder):
        whole = os.path.join(folder, path)
        outside = os.path.join(folder, "..", os.path.basename(folder) + ".outside")
        os.rename(whole, outside)
        make(os.path.relpath(outside, os.path.dirname(whole)) if make is os.symlink else outside, whole)
    return change


def add_verified(t):
    link = "symbolic link"
    for name, words, change in [
        ("sound", None, lambda folder: None),
        ("hard_input", None, instead("test_data_set_0/input_0.pb", os.link)),
        ("link_model", link, instead("model.onnx", os.symlink)),
        ("link_input", link, instead("test_data_set_0/input_0.pb", os.symlink)),
        ("link_output", link, instead("test_data_set_0/output_0.pb", os.symlink)),
        ("link_set", link, instead("test_data_set_0", os.symlink)),
        ("pipe_input", "not a regular file", instead("test_data_set_0/input_0.pb", lambda _, path: os.mkfifo(path))),
        ("no_sets", "no test_data_set_", lambda folder: shutil.rmtree(os.path.join(folder, "test_data_set_0"))),
    ]:
        folder = verified(t, name, change)
        t.cases.append((folder, ["verify", folder, "--interpret"], words, ""))


def add_all(t):
    for add in (add_programs, add_images, add_checkpoints, add_machines, add_outputs, add_verified):
        add(t)
