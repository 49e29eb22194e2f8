#!/usr/bin/env python3
"""Operators of ONNX's own domain in old versions and all their types, compared with ONNX Runtime.

    tests/conformance/run_versions.py [--what versions,types,forms] [--filter TEXT] [--sample N]
                                      [--tenon PATH] [-v]

The node folders of onnx are the source: `versions` imports each model with every
older operator set in which its node is still well formed, `types` converts the
inputs of some folders of each operator to every type that its signature allows,
`forms` has nodes whose attributes became inputs later.  The judge is ONNX
Runtime, and where it has no kernel onnx's reference evaluator.  Takes minutes;
--sample N takes every N-th case.  Exit status 0 when all passed.
"""

from __future__ import annotations

import argparse
import collections
import copy
import sys
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx.backend.test
from onnx import defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

from onnx_cases import Case, by_onnxruntime, report, run  # noqa: E402
from version_forms import forms  # noqa: E402

NODE = Path(onnx.backend.test.__file__).parent / "data" / "node"
OLDEST = 7
FOLDERS_PER_OPERATOR = 3  # whose types are varied
RANDOM = {"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
TYPES = {
    f"tensor({name})": np.dtype(kind)
    for name, kind in {
        "float": np.float32, "double": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16,
        "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
        "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64, "bool": np.bool_,
        "float8e4m3fn": ml_dtypes.float8_e4m3fn, "float8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
        "float8e5m2": ml_dtypes.float8_e5m2, "float8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
        "float8e8m0": ml_dtypes.float8_e8m0fnu, "float4e2m1": ml_dtypes.float4_e2m1fn,
        "int4": ml_dtypes.int4, "uint4": ml_dtypes.uint4, "int2": ml_dtypes.int2, "uint2": ml_dtypes.uint2,
    }.items()
}  # fmt: skip
# of the largest magnitude: a few units in the last place
STEP = {
    "float64": 1e-6, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2, "float8_e4m3fn": 0.13,
    "float8_e4m3fnuz": 0.13, "float8_e5m2": 0.26, "float8_e5m2fnuz": 0.26,
}  # fmt: skip


@dataclass
class Loaded(Case):
    """A model of a folder, with another operator set or other types."""

    proto: onnx.ModelProto | None = None
    data: dict | None = None

    def model(self) -> onnx.ModelProto:
        return self.proto

    def feeds(self) -> dict[str, np.ndarray]:
        return self.data


def by_either(case: Case) -> list[np.ndarray]:
    """ONNX Runtime's results, else those of the reference evaluator."""
    kinds = {str(x.dtype) for x in case.feeds().values()}
    if kinds <= {str(np.dtype(k)) for k in "fdebhilqBHILQ?"}:
        try:
            return by_onnxruntime(case)
        except Exception as error:  # noqa: BLE001
            if any(word in str(error) for word in ("INVALID_GRAPH", "ShapeInference", "INVALID_ARGUMENT")):
                raise
    if isinstance(case, Loaded) and case.note.startswith("opset") and not case.note.endswith("same"):
        raise RuntimeError("no kernel in ONNX Runtime, and the reference evaluator knows new versions only")
    results = ReferenceEvaluator(case.model()).run(None, case.feeds())
    if not all(isinstance(y, (np.ndarray, np.generic)) for y in results):
        raise RuntimeError("a result that is not a tensor")
    return [np.asarray(y) for y in results]


# ---------------------------------------------------------------- folders


def load(folder: Path) -> tuple[onnx.ModelProto, dict[str, np.ndarray]] | None:
    """A model of one node with numeric tensors, and its inputs."""
    model = onnx.load(folder / "model.onnx")
    graph = model.graph
    ports = [*graph.input, *graph.output]
    if len(graph.node) != 1 or any(not p.type.HasField("tensor_type") for p in ports):
        return None
    if any(p.type.tensor_type.elem_type in (8, 14, 15) for p in ports) or graph.node[0].op_type in RANDOM:
        return None
    data = {}
    for n, port in enumerate(graph.input):
        proto = onnx.TensorProto.FromString((folder / "test_data_set_0" / f"input_{n}.pb").read_bytes())
        data[port.name] = numpy_helper.to_array(proto)
    return model, data


def folders():
    for path in sorted(NODE.glob("*/model.onnx")):
        if "_expanded" in path.parent.name or "training_dropout" in path.parent.name:
            continue  # what is built of others, and what is random
        loaded = load(path.parent)
        if loaded and loaded[0].graph.node[0].domain in ("", "ai.onnx"):
            yield path.parent.name, *loaded


def version_of(model: onnx.ModelProto) -> int:
    return next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))


def schema_at(op: str, version: int):
    try:
        return defs.get_schema(op, version, "")
    except defs.SchemaError:
        return None


def with_version(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    other = copy.deepcopy(model)
    for opset in other.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = version
    other.ir_version = 10
    return other


def open_outputs(model: onnx.ModelProto) -> None:
    names = [port.name for port in model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)


def tolerance(arrays) -> float:
    return max([STEP.get(str(x.dtype), 0.0) for x in arrays] + [2e-5])


# ---------------------------------------------------------------- old versions


def fits(node: onnx.NodeProto, schema) -> bool:
    """Whether the node is well formed in another version of its operator."""
    if len(node.input) > schema.max_input or len(node.input) < schema.min_input:
        return False
    if len(node.output) > schema.max_output:
        return False
    return all(a.name in schema.attributes and a.type == int(schema.attributes[a.name].type) for a in node.attribute)


def versions() -> list[Case]:
    cases = []
    for name, model, data in folders():
        node, newest = model.graph.node[0], version_of(model)
        if any(port.type.tensor_type.elem_type > 16 for port in model.graph.output):
            continue  # ONNX Runtime hands narrow types out as bytes
        seen = set()
        for version in range(newest, OLDEST - 1, -1):
            schema = schema_at(node.op_type, version)
            if schema is None or schema.since_version in seen:
                continue
            seen.add(schema.since_version)
            at = max(schema.since_version, OLDEST)
            if at == newest or not fits(node, schema):
                continue
            other = with_version(model, at)
            note = f"opset {at}, {name}"
            case = Loaded(node.op_type, [], note=note, proto=other, data=data, opset=at)
            case.atol = tolerance(data.values())
            cases.append(case)
    return cases


# ---------------------------------------------------------------- types


def converted(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "u" or dtype.name.startswith("uint"):
        x = np.abs(x.astype(np.float64))
    if dtype.name in ("uint4", "int4", "uint2", "int2"):
        x = np.abs(np.rint(x.astype(np.float64))) % (2 if dtype.name[-1] == "2" else 8)
    if dtype.name == "float8_e8m0fnu":
        x = np.abs(x.astype(np.float64)) + 0.5
    if x.dtype.kind not in "fdiu?b":
        x = x.astype(np.float32)
    return x.astype(dtype)


def type_variables(node: onnx.NodeProto, schema) -> dict[str, list[int]]:
    groups = collections.defaultdict(list)
    for n, name in enumerate(node.input):
        formal = schema.inputs[min(n, len(schema.inputs) - 1)]
        if name:
            groups[formal.type_str].append(n)
    return groups


def types() -> list[Case]:
    cases, count = [], collections.Counter()
    for name, model, data in folders():
        node, version = model.graph.node[0], version_of(model)
        schema = defs.get_schema(node.op_type, version, "")
        if count[node.op_type] >= FOLDERS_PER_OPERATOR:
            continue
        count[node.op_type] += 1
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        for variable, places in type_variables(node, schema).items():
            names = {node.input[n] for n in places}
            have = data[node.input[places[0]]].dtype
            for kind in sorted(allowed.get(variable, ())):
                if kind not in TYPES or TYPES[kind] == have:
                    continue
                changed = {k: converted(x, TYPES[kind]) if k in names else x for k, x in data.items()}
                other = with_version(model, version)
                for port in other.graph.input:
                    if port.name in names:
                        port.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(TYPES[kind])
                open_outputs(other)
                other.ir_version = 13
                case = Loaded(node.op_type, [], note=f"{variable} = {kind}, {name}", proto=other, data=changed)
                case.atol = max(tolerance(changed.values()), tolerance(data.values()))
                cases.append(case)
    return cases


KINDS = {"versions": versions, "types": types, "forms": forms}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--filter", default="", metavar="TEXT", help="only operators with this name")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="every N-th case")
    parser.add_argument("--tenon", type=Path, default=ROOT / "build" / "tenon", metavar="PATH")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what no judge runs")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    failed = 0
    for kind in options.what:
        cases = [case for case in KINDS[kind]() if options.filter in case.op][:: options.sample]
        print(f"{kind}: {len(cases)} cases", flush=True)
        failed += report(run(cases, options.tenon, by_either, ("--interpret",)), options.verbose)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
