#!/usr/bin/env python3
"""Exports the model zoo to ONNX, with reference inputs and outputs.

    tools/export_models.py --out DIR [--models a,b] [--small] [--exporter legacy|dynamo|both]

Writes, for each model and exporter, a folder in the layout of ONNX's own test
data, which `tenon verify` reads:

    DIR/<model>-<exporter>/model.onnx
    DIR/<model>-<exporter>/test_data_set_0/   random inputs, outputs of ONNX Runtime
    DIR/<model>-<exporter>/test_data_set_1/   real inputs: tokenised text or photographs
    DIR/<model>.pt                            the PyTorch module, for benchmarks
    DIR/manifest.json                         what was exported, or why it was not
    DIR/ops.txt                               operator counts per model

Exit status 1 when an export failed; the others are still written.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import io
import json
import logging
import os
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from onnx import numpy_helper

from exported import relative_difference
from zoo import ZOO, Model

DATA_SETS = ("random", "real")


def export(model: Model, module: torch.nn.Module, exporter: str, small: bool, path: Path) -> None:
    args = tuple(torch.from_numpy(a) for a in example_data(model, small))
    names = dict(input_names=list(model.inputs), output_names=list(model.outputs))
    if exporter == "legacy":
        axes = {**model.axes, **model.outputs}
        torch.onnx.export(module, args, str(path), dynamo=False, dynamic_axes=axes, **names)
    else:
        if model.split_attention:
            module.model.set_attn_implementation("eager")
        torch.onnx.export(
            module, args, str(path), dynamo=True, dynamic_shapes=tuple(model.axes.values()),
            external_data=False, **names,
        )  # fmt: skip


def example_data(model: Model, small: bool) -> list[np.ndarray]:
    """What the exporters trace with: two rows, since torch.export fixes axes of size one."""
    return [np.concatenate([a, a])[:2] for a in model.random_data(small)]


def write_data_set(folder: Path, inputs: dict, outputs: dict) -> None:
    folder.mkdir(exist_ok=True)
    for kind, values in (("input", inputs), ("output", outputs)):
        for i, (name, value) in enumerate(values.items()):
            tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
            (folder / f"{kind}_{i}.pb").write_bytes(tensor.SerializeToString())


def write_references(model: Model, module, small: bool, folder: Path) -> float:
    """Writes both data sets; returns how far ONNX Runtime is from PyTorch."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    worst = 0.0
    for i, data in enumerate((model.random_data(small), model.real_data(small))):
        feed = dict(zip(model.inputs, data, strict=True))
        feed = {entry.name: feed[entry.name] for entry in session.get_inputs()}
        names = [entry.name for entry in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, feed), strict=True))
        with torch.no_grad():
            torch_outputs = module(*(torch.from_numpy(a) for a in data))
        if isinstance(torch_outputs, torch.Tensor):
            torch_outputs = (torch_outputs,)
        for got, want in zip(outputs.values(), torch_outputs, strict=True):
            worst = max(worst, relative_difference(got, want.numpy()))
        write_data_set(folder / f"test_data_set_{i}", feed, outputs)
    return worst


def count_operators(graph: onnx.GraphProto, counts: collections.Counter) -> None:
    for node in graph.node:
        counts[f"{node.domain}::{node.op_type}" if node.domain else node.op_type] += 1
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                count_operators(inner, counts)


def value_info(entry: onnx.ValueInfoProto) -> dict:
    kind = entry.type.tensor_type
    shape = [d.dim_param or d.dim_value for d in kind.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return {"name": entry.name, "dtype": str(dtype), "shape": shape}


def describe(path: Path) -> dict:
    proto = onnx.load(str(path))
    onnx.checker.check_model(proto)
    counts: collections.Counter = collections.Counter()
    count_operators(proto.graph, counts)
    for function in proto.functions:
        count_operators(function, counts)
    return {
        "opset": next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")),
        "bytes": path.stat().st_size,
        "inputs": [value_info(v) for v in proto.graph.input],
        "outputs": [value_info(v) for v in proto.graph.output],
        "ops": dict(sorted(counts.items())),
    }


def export_one(model: Model, module, exporter: str, small: bool, out: Path) -> dict:
    folder = out / f"{model.name}-{exporter}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    entry = {
        "model": model.name, "exporter": exporter, "small": small, "path": folder.name,
        "module": f"{model.name}.pt", "dims": model.dims(small), "tolerance": model.tolerance,
        "data_sets": list(DATA_SETS), "versions": versions(),
    }  # fmt: skip
    chatter = io.StringIO()
    try:
        with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
            export(model, module, exporter, small, folder / "model.onnx")
        entry |= describe(folder / "model.onnx")
        entry["difference_to_torch"] = write_references(model, module, small, folder)
        entry["ok"] = True
    except Exception as error:  # an exporter may raise anything; the reason goes into the manifest
        (folder / "error.txt").write_text(traceback.format_exc() + chatter.getvalue())
        while error.__cause__ is not None:
            error = error.__cause__
        first = (str(error).strip() or "no message").splitlines()[0]
        entry |= {"ok": False, "reason": f"{type(error).__name__}: {first}"}
    return entry


def versions() -> dict:
    modules = (torch, onnx, onnxruntime, transformers)
    return {module.__name__: module.__version__ for module in modules}


def update_manifest(out: Path, entry: dict) -> None:
    path = out / "manifest.json"
    entries = json.loads(path.read_text())["entries"] if path.exists() else []
    entries = [e for e in entries if e["path"] != entry["path"]] + [entry]
    entries.sort(key=lambda e: (list(ZOO).index(e["model"]), e["exporter"]))
    text = json.dumps({"schema": "tenon.zoo/1", "entries": entries}, indent=1)
    path.with_suffix(".tmp").write_text(text + "\n")
    os.replace(path.with_suffix(".tmp"), path)
    with (out / "ops.txt").open("w") as file:
        for e in entries:
            ops = " ".join(f"{name}:{n}" for name, n in e.get("ops", {}).items())
            opset = f"opset {e['opset']}" if "opset" in e else f"failed: {e['reason']}"
            print(f"{e['path']} ({opset}): {ops}", file=file)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--models", default=",".join(ZOO), help="comma-separated names")
    parser.add_argument("--small", action="store_true", help="few layers, small widths")
    parser.add_argument("--exporter", choices=("legacy", "dynamo", "both"), default="both")
    options = parser.parse_args()
    options.models = options.models.split(",")
    unknown = sorted(set(options.models) - set(ZOO))
    if unknown:
        parser.error(f"unknown model {', '.join(unknown)}; known: {', '.join(ZOO)}")
    return options


def main() -> int:
    options = arguments()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    os.environ["HF_HUB_OFFLINE"] = "1"
    options.out.mkdir(parents=True, exist_ok=True)
    exporters = ("legacy", "dynamo") if options.exporter == "both" else (options.exporter,)
    failed = 0
    for name in options.models:
        model = ZOO[name]
        module = model.module(options.small)
        torch.save(module, options.out / f"{name}.pt")
        for exporter in exporters:
            start = time.monotonic()
            entry = export_one(model, module, exporter, options.small, options.out)
            update_manifest(options.out, entry)
            failed += not entry["ok"]
            if entry["ok"]:
                text = f"{entry['bytes'] / 1e6:.1f} MB, opset {entry['opset']}, "
                text += f"Δ to PyTorch {entry['difference_to_torch']:.1e}"
            else:
                text = f"failed: {entry['reason']}"
            took = time.monotonic() - start
            print(f"{name:14} {exporter:7} {took:6.1f} s  {text}", flush=True)
        del module
        gc.collect()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
