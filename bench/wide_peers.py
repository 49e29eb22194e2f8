#!/usr/bin/env python3
"""The peers of bench_wide.py: N members of a model one after another, or together by torch.func.vmap.

    bench/wide_peers.py MODEL FOLDER THREADS eager|compile|vmap|ort

FOLDER has what wide_models.save_members wrote.  Reads lines from stdin and answers each with a line of JSON:

    members N       makes and runs them; {"compile_s", "bytes", "how"}; results go to FOLDER/y-ENGINE.bin
    SECONDS         {"latency_ms"} of a run of all members
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from peers import ort_session, peak_bytes, steady_latency

WARM_UP = (0.05, 2)
LEAST_RUNS = 2


class Engine:
    """`run` gives the results of all members; `how` says what was done where that is not what the name says."""

    how = ""

    def __init__(self, model: str, folder: Path, threads: int):
        self.model, self.folder, self.threads = model, folder, threads


class Ort(Engine):
    """N sessions, whose threads wait by spinning or asleep, as is faster: spinning ones disturb other sessions."""

    def open(self, count: int) -> None:
        paths = sorted(self.folder.glob("member-*.onnx"))[:count]
        self.sessions, times = [], {}
        for spin in (True, False):
            self.start(paths, spin)
            times[spin] = steady_latency(self.run, 0.02, WARM_UP, LEAST_RUNS)["median"]
        if times[True] < times[False]:
            self.start(paths, True)

    def start(self, paths: list[Path], spin: bool) -> None:
        self.sessions.clear()  # the old ones' memory is free before the new ones are made
        self.sessions += [ort_session(str(path), self.threads, spin) for path in paths]
        port = self.sessions[0].get_inputs()[0]
        kind = np.int64 if "int64" in port.type else np.float32
        x = np.fromfile(self.folder / "x.bin", kind)[: len(paths) * int(np.prod(port.shape))]
        self.feeds = [{port.name: part} for part in x.reshape(len(paths), *port.shape)]

    def run(self):
        return [s.run(None, feed)[0] for s, feed in zip(self.sessions, self.feeds)]


class Torch(Engine):
    def __init__(self, model: str, folder: Path, threads: int):
        super().__init__(model, folder, threads)
        import torch
        import wide_models

        torch.set_num_threads(threads)
        torch._dynamo.config.cache_size_limit = 64
        self.torch, self.models = torch, wide_models

    def open(self, count: int) -> None:
        self.members = self.models.members(self.model, count)
        self.x = self.models.inputs(self.model, count)
        self.parts = list(self.x)


class Eager(Torch):
    def run(self):
        with self.torch.inference_mode():
            return [member(x) for member, x in zip(self.members, self.parts)]


class Compile(Torch):
    """One compiled function, called with the parameters of each member."""

    def open(self, count: int) -> None:
        super().open(count)
        base = self.members[0]
        self.states = [dict(m.named_parameters()) | dict(m.named_buffers()) for m in self.members]
        if not hasattr(self, "compiled"):
            call = self.torch.func.functional_call
            self.compiled = self.torch.compile(lambda state, x: call(base, state, (x,)), dynamic=False)

    def run(self):
        with self.torch.no_grad():
            return [self.compiled(state, x) for state, x in zip(self.states, self.parts)]


class Vmap(Torch):
    """torch.func.vmap over stacked parameters, compiled."""

    def open(self, count: int) -> None:
        super().open(count)
        torch, func = self.torch, self.torch.func
        written_out = self.models.CASES[self.model].written_out
        base = written_out().eval() if written_out else self.members[0]
        self.how = "written out" if written_out else ""
        self.state = func.stack_module_state(self.members)
        self.members = []
        every = func.vmap(lambda p, b, x: func.functional_call(base, (p, b), (x,)))
        torch._dynamo.reset()
        self.compiled = torch.compile(every, dynamic=False)
        try:
            self.run()
        except Exception as error:  # what dynamo and inductor raise has no common class
            print(f"not compiled: {error}", file=sys.stderr)
            self.compiled, self.how = every, "eager"

    def run(self):
        with self.torch.no_grad():
            return self.compiled(*self.state, self.x)


ENGINES = {"eager": Eager, "compile": Compile, "vmap": Vmap, "ort": Ort}


def members(engine: Engine, name: str, count: int, before: int) -> dict:
    begin = time.monotonic()
    engine.open(count)
    y = engine.run()
    seconds = time.monotonic() - begin
    np.stack([np.asarray(part) for part in y]).tofile(engine.folder / f"y-{name}.bin")
    return {"compile_s": seconds, "bytes": peak_bytes() - before, "how": engine.how}


def main() -> None:
    model, folder, threads, name = sys.argv[1:]
    engine = ENGINES[name](model, Path(folder), int(threads))
    before = peak_bytes()
    for line in sys.stdin:
        said = line.split()
        if said[0] == "members":
            answer = members(engine, name, int(said[1]), before)
        else:
            answer = {"latency_ms": steady_latency(engine.run, float(line), WARM_UP, LEAST_RUNS)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
