"""Small ONNX models beside ONNX Runtime: cases, their folders, and `tenon verify` over them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

BATCH = 60
IR_VERSION = 10


@dataclass
class Case:
    """One node. An input may be None (absent); those in `constants` are initializers, by position."""

    op: str
    inputs: list
    attributes: dict = field(default_factory=dict)
    outputs: int | str = 1  # a number, or a mask like "101" of those that are asked for
    constants: tuple = ()
    domain: str = "com.microsoft"
    opset: int = 17
    rtol: float = 0.0
    atol: float = 1e-5  # of the output's largest magnitude
    note: str = ""
    expected: list | None = None  # where the peer does not run it
    like: Case | None = None  # a case that the peer runs, of the same meaning
    dtype: int | None = None  # of the outputs, where the peer cannot infer it

    def names(self) -> tuple[list[str], list[str]]:
        wanted = self.outputs if isinstance(self.outputs, str) else "1" * self.outputs
        inputs = ["" if x is None else f"i{n}" for n, x in enumerate(self.inputs)]
        return inputs, [f"o{n}" if flag == "1" else "" for n, flag in enumerate(wanted)]

    def label(self) -> str:
        return f"{self.op} {self.note or self.attributes}"

    def model(self) -> onnx.ModelProto:
        return model_of(self)

    def feeds(self) -> dict[str, np.ndarray]:
        inputs, _ = self.names()
        pairs = enumerate(zip(inputs, self.inputs))
        return {name: np.asarray(x) for n, (name, x) in pairs if x is not None and n not in self.constants}


def tensor(x: np.ndarray, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(x), name)


def model_of(case: Case) -> onnx.ModelProto:
    inputs, outputs = case.names()
    node = helper.make_node(case.op, inputs, outputs, name="node", domain=case.domain, **case.attributes)
    ports, constants = [], []
    for n, (name, x) in enumerate(zip(inputs, case.inputs)):
        if x is None:
            continue
        proto = tensor(x, name)
        if n in case.constants:
            constants.append(proto)
        else:
            ports.append(helper.make_tensor_value_info(name, proto.data_type, np.shape(x)))
    wanted = [name for name in outputs if name]
    if case.dtype is None:
        results = [helper.make_empty_tensor_value_info(name) for name in wanted]
    else:
        results = [helper.make_tensor_value_info(name, case.dtype, None) for name in wanted]
    graph = helper.make_graph([node], "case", ports, results, constants)
    opsets = [helper.make_opsetid("", case.opset)]
    if case.domain:
        opsets.append(helper.make_opsetid(case.domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def by_onnxruntime(case: Case) -> list[np.ndarray]:
    import onnxruntime

    if case.expected is not None:
        return case.expected
    if case.like is not None:
        return by_onnxruntime(case.like)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model = case.model().SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, case.feeds())


def write_folder(case: Case, expected: list, folder: Path) -> None:
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    onnx.save(case.model(), folder / "model.onnx")
    for n, (name, x) in enumerate(case.feeds().items()):
        (data / f"input_{n}.pb").write_bytes(tensor(x, name).SerializeToString())
    largest = 0.0
    for n, y in enumerate(expected):
        (data / f"output_{n}.pb").write_bytes(tensor(y, f"o{n}").SerializeToString())
        values = np.abs(np.asarray(y).astype(np.float64))
        finite = values[np.isfinite(values)]
        whole = y.dtype.kind in "iub"
        size = 1.0 if whole else float(finite.max(initial=0.0))
        largest = max(largest, size)
    tolerance = {"rtol": case.rtol, "atol": case.atol * largest}
    (folder / "data.json").write_text(json.dumps(tolerance))


def verify(tenon: Path, folders: list[Path], extra: list[str]) -> dict[Path, tuple[bool, str]]:
    command = [str(tenon), "verify", "--json", "--threads", "1", *extra, *map(str, folders)]
    result = subprocess.run(command, capture_output=True, timeout=300)
    reports = {}
    for line in result.stdout.decode(errors="replace").splitlines():
        row = json.loads(line)
        reports[Path(row["path"])] = (bool(row["ok"]), row.get("reason") or "")
    missing = [folder for folder in folders if folder not in reports]
    if missing and len(folders) > 1:
        for folder in missing:
            reports |= verify(tenon, [folder], extra)
    elif missing:
        reports[missing[0]] = (False, f"exit status {result.returncode}")
    return reports


@dataclass
class Outcome:
    case: Case
    ok: bool
    reason: str = ""
    skipped: bool = False  # the peer does not run it


def run(cases: list[Case], tenon: Path, reference=by_onnxruntime, extra: tuple = ()) -> list[Outcome]:
    outcomes, waiting = [], []
    with tempfile.TemporaryDirectory() as root:
        for n, case in enumerate(cases):
            try:
                expected = reference(case)
            except Exception as error:  # noqa: BLE001 whatever the peer refuses
                lines = str(error).strip().splitlines()
                outcomes.append(Outcome(case, True, lines[-1] if lines else "no message", True))
                continue
            folder = Path(root) / f"{n:04}"
            write_folder(case, expected, folder)
            waiting.append((case, folder))
        for start in range(0, len(waiting), BATCH):
            batch = waiting[start : start + BATCH]
            reports = verify(tenon, [folder for _, folder in batch], list(extra))
            outcomes += [Outcome(case, *reports[folder]) for case, folder in batch]
    return outcomes


def report(outcomes: list[Outcome], verbose: bool) -> int:
    """Prints what failed; the number of failures."""
    for outcome in outcomes:
        if outcome.skipped and verbose:
            print(f"skip {outcome.case.label()}: {outcome.reason}")
        elif not outcome.ok:
            print(f"FAIL {outcome.case.label()}: {outcome.reason}")
    failed = sum(not o.ok for o in outcomes)
    skipped = sum(o.skipped for o in outcomes)
    operators = len({o.case.op for o in outcomes if not o.skipped})
    print(f"{len(outcomes) - failed - skipped} passed, {failed} failed, {skipped} left out; {operators} operators")
    return failed
