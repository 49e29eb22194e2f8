#!/usr/bin/env python3
"""Files of tensors between Tenon and Python's safetensors, both ways.

    tests/conformance/run_safetensors.py [--library PATH]

Every type that both know, scalars, empty tensors and names beyond ASCII; a checkpoint's folder is read
as Hugging Face's loaders would.  Exit status 0 when everything passed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from library import DTYPES, LIBRARY, Library, Named

TORCH = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
    "f8e4m3fn": torch.float8_e4m3fn, "f8e4m3fnuz": torch.float8_e4m3fnuz,
    "f8e5m2": torch.float8_e5m2, "f8e5m2fnuz": torch.float8_e5m2fnuz, "f8e8m0": torch.float8_e8m0fnu,
    "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8,
    "u64": torch.uint64, "u32": torch.uint32, "u16": torch.uint16, "u8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip


class Part(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("tensors", ctypes.POINTER(Named)), ("count", ctypes.c_int)]


class Content(ctypes.Structure):
    _fields_ = [("parts", ctypes.POINTER(Part)), ("part_count", ctypes.c_int),
                ("blobs", ctypes.c_void_p), ("blob_count", ctypes.c_int)]  # fmt: skip


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("keep", ctypes.c_int), ("shard_bytes", ctypes.c_uint64)]


class Tenon(Library):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.c.tn_tensor_from_at.restype = ctypes.c_void_p

    def named(self, tensors: dict[str, tuple[str, torch.Tensor]]) -> ctypes.Array:
        out = (Named * len(tensors))()
        for i, (name, (dtype, x)) in enumerate(tensors.items()):
            dims = (ctypes.c_int64 * max(x.dim(), 1))(*x.shape)
            data = ctypes.create_string_buffer(raw(x), max(len(raw(x)), 1))
            handle = self.c.tn_tensor_from_at(
                b"conformance", self.context, DTYPES[dtype], x.dim(), dims, data
            )
            out[i] = Named(name.encode(), handle)
        return out

    def read(self, path: Path, name: str, size: int) -> bytes:
        file, tensor = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("tn_tensor_file_open", str(path).encode(), ctypes.byref(file))
        self.call("tn_tensor_file_get", file, self.context, name.encode(), ctypes.byref(tensor))
        data = ctypes.create_string_buffer(max(size, 1))
        self.call("tn_read", tensor, data, ctypes.c_size_t(size))
        self.c.tn_release(tensor)
        self.c.tn_tensor_file_release(file)
        return data.raw[:size]


def raw(x: torch.Tensor) -> bytes:
    return bytes(x.contiguous().reshape(-1).view(torch.uint8).tolist()) if x.numel() else b""


def samples() -> dict[str, tuple[str, torch.Tensor]]:
    bits = torch.randint(0, 256, (1000,), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    out = {}
    for name, dtype in TORCH.items():
        size = torch.empty(0, dtype=dtype).element_size()
        x = bits[: 24 * size] % 2 if name == "bool" else bits[: 24 * size]
        x = x.clone().view(dtype)
        out[f"{name}.matrix"] = (name, x.reshape(2, 3, 4))
        out[f"{name}.scalar"] = (name, x[5].reshape(()).clone())
        out[f"{name}.empty"] = (name, x[:0].reshape(3, 0).clone())
    out["größe \"x\""] = ("f32", torch.arange(3, dtype=torch.float32))
    return out


def compare(got: dict[str, torch.Tensor], want: dict[str, tuple[str, torch.Tensor]]) -> list[str]:
    problems = [f"'{name}' is not there" for name in want if name not in got]
    for name, x in got.items():
        dtype, y = want[name]
        if x.dtype != TORCH[dtype] or x.shape != y.shape or raw(x) != raw(y):
            problems.append(f"'{name}' differs")
    return problems


def from_tenon(tenon: Tenon, folder: Path) -> list[str]:
    want, path = samples(), folder / "tenon.safetensors"
    named = tenon.named(want)
    tenon.call("tn_tensors_save", str(path).encode(), named, len(named))
    with safe_open(str(path), "pt") as f:
        metadata = f.metadata()
    return compare(load_file(path), want) + ([] if metadata == {"format": "pt"} else ["metadata"])


def from_python(tenon: Tenon, folder: Path) -> list[str]:
    want, path = samples(), folder / "python.safetensors"
    save_file({name: x for name, (_, x) in want.items()}, path, metadata={"format": "pt"})
    return [
        f"'{name}' differs"
        for name, (_, x) in want.items()
        if tenon.read(path, name, len(raw(x))) != raw(x)
    ]


def same_bytes(tenon: Tenon, folder: Path) -> list[str]:
    """The files of the two above are equal, so both write the same order and header."""
    ours, theirs = ((folder / f"{who}.safetensors").read_bytes() for who in ("tenon", "python"))
    return [] if ours == theirs else ["the two files differ"]


def checkpoint(tenon: Tenon, folder: Path) -> list[str]:
    want = samples()
    named = tenon.named(want)
    part = Part(b"model", named, len(named))
    content = Content(ctypes.pointer(part), 1, None, 0)
    options = Options(ctypes.sizeof(Options), 0, 500)
    tenon.c.tn_checkpoint_save.argtypes = [ctypes.c_char_p, ctypes.c_int64] + [ctypes.c_void_p] * 3
    tenon.call("tn_checkpoint_save", str(folder).encode(), 3, ctypes.addressof(content),
               ctypes.addressof(options))  # fmt: skip
    step, got = folder / "step-3", {}
    index = json.loads((step / "model.safetensors.index.json").read_text())
    for name, file in index["weight_map"].items():
        with safe_open(str(step / file), "pt") as f:
            got[name] = f.get_tensor(name)
    return compare(got, want)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", type=Path, default=LIBRARY)
    tenon = Tenon(parser.parse_args().library)
    tests, failed = (from_tenon, from_python, same_bytes, checkpoint), 0
    with tempfile.TemporaryDirectory() as folder:
        for test in tests:
            problems = test(tenon, Path(folder))
            failed += bool(problems)
            for problem in problems:
                print(f"FAIL safetensors {test.__name__}: {problem}")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
