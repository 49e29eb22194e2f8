#!/usr/bin/env python3
"""No file, however hostile, hurts the command: run.py TENON FOLDER.

Each file of files.py goes through the real command: it must end in time, by itself, with status 1 and the words
expected, which name the file; what may run has to run. --show prints what is said of each, --sanitized gives more time."""

import concurrent.futures
import os
import resource
import shutil
import subprocess
import sys

import files
import folders
import wire

SECONDS = 10  # of the processor; of the clock ten times as many, on a machine that has other work
SANITIZED = "--sanitized" in sys.argv  # slower, and without a bound of addresses
if SANITIZED:  # as malloc of the C library does
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":allocator_may_return_null=1"


def limit():
    seconds = SECONDS * (4 if SANITIZED else 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))


def names(said, name):
    """The file; behind the import the value or the node, of the one model there is."""
    return name in said or said.startswith(tuple("tenon: error: " + w for w in ("node '", "value '", "out of memory")))


class Tests:
    def __init__(self, tenon, folder):
        self.tenon = os.path.abspath(tenon)
        self.folder = os.path.abspath(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.cases = []  # (what, arguments, words, name in the message[, a file that it writes])
        for name in ("m/sub", "arrays", "weights", "settings", "runs", "set", "programs", "machines", "outputs"):
            os.makedirs(os.path.join(self.folder, name))

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def add(self, what, words, path, *arguments):
        self.cases.append((what, [str(a) for a in arguments], words, os.path.basename(path)))

    def run(self, case):
        what, arguments, words, name, *written = case
        try:
            done = subprocess.run([self.tenon, *arguments], capture_output=True, timeout=10 * SECONDS,
                                  stdin=subprocess.DEVNULL, preexec_fn=limit, cwd=self.folder)
        except subprocess.TimeoutExpired:
            return what, "hangs", ""
        said = done.stderr.decode(errors="replace").strip()
        said = said[max(said.rfind("tenon: error: "), 0) :]  # warnings stand before it
        if arguments[0] == "verify" and not said:  # what fails is its result
            said = "tenon: error: " + done.stdout.decode(errors="replace").strip()
        bad = None
        if done.returncode != (0 if words is None else 1):
            bad = f"status {done.returncode}"
        elif not all(map(os.path.isfile, written)):
            bad = "the file is not there"
        elif words is not None and (words not in said or not names(said, name) or not said.startswith("tenon: error: ")):
            bad = f"expected '{words}' of {name}"
        elif "assert" in said.lower() or "Sanitizer" in said or "bug" in said.lower().replace("debug", ""):
            bad = "a broken invariant"
        return what, bad, said


def add_links(t):
    """What a tarball can hold besides files."""
    inside = os.path.join(t.folder, "m")
    t.write("secret", b"\0" * 24)
    t.write("m/w", b"\0" * 24)
    os.symlink("../secret", os.path.join(inside, "link"))
    os.symlink("w", os.path.join(inside, "inside"))
    os.symlink("..", os.path.join(inside, "parent"))
    os.symlink("/proc", os.path.join(inside, "proc"))
    os.link(os.path.join(t.folder, "secret"), os.path.join(inside, "hard"))
    os.mkfifo(os.path.join(inside, "pipe"))


def add_folders(t):
    """Folders whose files are named by others, or by convention."""
    good = files.one("Relu")
    t.write("set/model.onnx", good)
    os.mkfifo(os.path.join(t.folder, "set", "data.json"))
    os.makedirs(os.path.join(t.folder, "set", "test_data_set_0"))
    t.write("set/test_data_set_0/input_0.pb", wire.tensor("x", [2, 3], wire.FLOAT, b"\0" * 24))
    t.write("set/test_data_set_0/output_0.pb", wire.tensor("y", [2, 3], wire.FLOAT, b"\0" * 24))
    t.cases.append(("set with a pipe", ["verify", os.path.join(t.folder, "set")], None, "set"))
    for name in ("model.onnx", "input.npy", "settings.json"):
        path = os.path.join(t.folder, name)
        os.mkfifo(path)
        arguments = {"model.onnx": ["run", path, "--random"], "settings.json": ["train", path],
                     "input.npy": ["run", os.path.join(t.folder, "set/model.onnx"), "-i", path]}[name]
        t.add(f"pipe {name}", "not a regular file", path, *arguments)


def collect(tenon, folder):
    t = Tests(tenon, folder)
    add_links(t)
    for name, data, words in files.ONNX:
        path = t.write(f"m/{name}.onnx", data)
        t.add(path, words, path, "run", path, "--random", "--interpret")
    for name, data, inputs, words in files.RUNS:
        path = t.write(f"runs/{name}.onnx", data)
        given = [a for i, x in enumerate(inputs) for a in ("-i", t.write(f"runs/{name}.{i}.npy", x))]
        for way in ([], ["--interpret"]):
            t.add(" ".join([path, *way]), words, path, "run", path, *given, *way)
    model = t.write("arrays/model.onnx", files.one("Relu"))
    for name, data, words in files.ARRAYS:
        path = t.write(f"arrays/{name}", data)
        t.add(path, words, path, "run", model, "-i", path, "--interpret")
    model = t.write("weights/model.onnx", wire.model(files.WEIGHT + wire.node("Add", "x w", "y")))
    for name, data, words in files.SAFETENSORS:
        path = t.write(f"weights/{name}.safetensors", data)
        t.add(path, words, path, "wide", "run", model, "-w", path, "--random", "--interpret")
    for name, data, words in files.SETTINGS:
        path = t.write(f"settings/{name}.json", data)
        t.add(path, words, path, "train", path)
    add_folders(t)
    folders.add_all(t)
    return t


def main():
    show = "--show" in sys.argv
    t = collect(*[a for a in sys.argv[1:] if not a.startswith("--")])
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(t.run, t.cases))
    failed = [r for r in results if r[1]]
    for what, bad, said in results if show else failed:
        print(f"{'FAILED ' if bad else ''}{os.path.relpath(what, t.folder) if what[0] == '/' else what}: "
              f"{bad or ''}\n    {said[:600]}")
    print(f"{len(results)} files, {len(failed)} not as expected")
    shutil.rmtree(t.folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
