"""A compiled model: arrays in, arrays out."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from . import arrays
from .library import Buffer, C, ModelOptions, PortInfo, TenonError, call


@dataclass(frozen=True)
class Port:
    """An input or output. Open sizes are the names they have in the model; `shape` is None where the
    number of axes is known after a run only."""

    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...] | None


def describe(info: PortInfo) -> Port:
    shape = None
    if info.rank >= 0:
        pairs = zip(info.dim[: info.rank], info.symbol[: info.rank])
        shape = tuple(size if size >= 0 else symbol.decode(errors="replace") for size, symbol in pairs)
    return Port(info.name.decode(errors="replace"), arrays.numpy_type(info.dtype), shape)


class Model:
    """An ONNX model (a path, or the bytes of a file) or a program file (a path).

    threads: 0 for the cores of this process. cache: the folder of compiled kernels, None for the usual
    one. Models serve one thread at a time; others wait.
    """

    def __init__(
        self,
        source: str | os.PathLike | bytes,
        *,
        threads: int = 0,
        no_opt: bool = False,
        cache: str | os.PathLike | None = None,
    ) -> None:
        self._model, self._session = ctypes.c_void_p(), ctypes.c_void_p()
        self._lock = threading.Lock()
        options = ModelOptions(ctypes.sizeof(ModelOptions), threads, 0, no_opt, False, None)
        options.cache = os.fsencode(cache) if cache is not None else None
        where = (ctypes.byref(options), ctypes.byref(self._model))
        if isinstance(source, (bytes, bytearray, memoryview)):
            source = bytes(source)
            call("tn_model_open_bytes", source, len(source), *where)
        else:
            call("tn_model_open", os.fsencode(source), *where)
        call("tn_session_create", self._model, ctypes.byref(self._session))
        self.inputs = self._ports(C.tn_model_input_count, C.tn_model_input)
        self.outputs = self._ports(C.tn_model_output_count, C.tn_model_output)

    def __del__(self) -> None:
        # All of it may be gone at the interpreter's end.
        if C is not None and getattr(self, "_model", None):
            C.tn_session_release(self._session)
            C.tn_model_release(self._model)

    def _ports(self, count, get) -> tuple[Port, ...]:
        ports = []
        for i in range(count(self._model)):
            info = PortInfo()
            if get(self._model, i, ctypes.byref(info)) != 0:
                raise MemoryError("out of memory")
            ports.append(describe(info))
        return tuple(ports)

    def _by_place(self, inputs) -> list:
        """One value for each port, from a list in their order or a mapping by their names."""
        names = [port.name for port in self.inputs]
        if isinstance(inputs, Mapping):
            unknown = [name for name in inputs if name not in names]
            missing = [name for name in names if name not in inputs]
            if unknown or missing:
                text = [f"no input is named '{name}'" for name in unknown]
                text += [f"input '{name}' is missing" for name in missing]
                raise ValueError("; ".join(text))
            return [inputs[name] for name in names]
        if not isinstance(inputs, Sequence):
            inputs = [inputs]
        if len(inputs) != len(names):
            raise ValueError(f"{len(inputs)} inputs given, the model has {len(names)}: {', '.join(names)}")
        return list(inputs)

    def run(self, inputs) -> list[np.ndarray]:
        """The outputs in the model's order, in memory of their own. Raises TenonError."""
        values = self._by_place(inputs)
        ins, outs = (Buffer * len(values))(), (Buffer * len(self.outputs))()
        held = []  # what the buffers point to
        for i, (value, port) in enumerate(zip(values, self.inputs)):
            expected = arrays.ENUM[arrays.NAME_OF[port.dtype]]
            ins[i], array = arrays.to_buffer(value, f"input '{port.name}'", expected)
            held.append(array)
        with self._lock:
            call("tn_session_run", self._session, ins, len(ins), outs, len(outs))
            return [arrays.from_buffer(buffer) for buffer in outs]


__all__ = ["Model", "Port", "TenonError"]
