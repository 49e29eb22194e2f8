"""A compiled model: arrays in, arrays out.

A sequence or an optional is several tensors, or none, to the library: a run of its inputs or outputs. How
many there are is fixed when a model is compiled, so there is one compiled form for each structure.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import arrays
from .library import ABSENT, KINDS, UNKNOWN, Buffer, C, Compound, CompoundBinding, ModelOptions, PortInfo, call

FORMS = 16  # compiled forms that a model keeps


@dataclass(frozen=True)
class Port:
    """An input or output. Open sizes are the names they have in the model. `kind` is "tensor", "sequence" (a
    list of arrays), "optional" (an array or None) or "optional sequence". `shape` is None where the number of
    axes is not known before a run, `dtype` where that of a sequence or optional is not."""

    name: str
    dtype: np.dtype | None
    shape: tuple[int | str, ...] | None
    kind: str = "tensor"


@dataclass(frozen=True)
class Run:
    """A unit of a list of inputs or outputs: `count` tensors from `first` on, or ABSENT, or UNKNOWN."""

    first: int
    count: int
    kind: str = "tensor"
    name: str = ""

    @property
    def width(self) -> int:
        return max(self.count, 0)


def runs_of(ports: int, count: Callable, get: Callable, handle: ctypes.c_void_p) -> list[Run]:
    """The units in the file's order: tensors, and between them compounds."""
    runs, at = [], 0
    for i in range(count(handle)):
        c = Compound()
        if get(handle, i, ctypes.byref(c)) != 0:
            raise MemoryError("out of memory")
        runs += [Run(k, 1) for k in range(at, c.first)]
        runs.append(Run(c.first, c.count, KINDS[c.kind], c.name.decode(errors="replace")))
        at = c.first + runs[-1].width
    return runs + [Run(k, 1) for k in range(at, ports)]


def describe(info: PortInfo) -> Port:
    shape = None
    if info.rank >= 0:
        pairs = zip(info.dim[: info.rank], info.symbol[: info.rank])
        shape = tuple(size if size >= 0 else symbol.decode(errors="replace") for size, symbol in pairs)
    return Port(info.name.decode(errors="replace"), arrays.numpy_type(info.dtype), shape)


class Form:
    """A model that is opened, its sequences and optionals bound to a structure, and its session."""

    def __init__(self, source: str | bytes, options: ModelOptions) -> None:
        self.model, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        where = (ctypes.byref(options), ctypes.byref(self.model))
        if isinstance(source, bytes):
            call("tn_model_open_bytes", source, len(source), *where)
        else:
            call("tn_model_open", os.fsencode(source), *where)
        call("tn_session_create", self.model, ctypes.byref(self.session))
        self.inputs = self._ports(C.tn_model_input_count, C.tn_model_input)
        self.outputs = self._ports(C.tn_model_output_count, C.tn_model_output)
        of = (C.tn_model_input_compound_count, C.tn_model_input_compound, self.model)
        self.input_runs = runs_of(len(self.inputs), *of)
        of = (C.tn_model_output_compound_count, C.tn_model_output_compound, self.model)
        self.output_runs = runs_of(len(self.outputs), *of)

    def __del__(self) -> None:
        # All of it may be gone at the interpreter's end.
        if C is not None:
            C.tn_session_release(self.session)
            C.tn_model_release(self.model)

    def _ports(self, count: Callable, get: Callable) -> list[Port]:
        ports = []
        for i in range(count(self.model)):
            info = PortInfo()
            if get(self.model, i, ctypes.byref(info)) != 0:
                raise MemoryError("out of memory")
            ports.append(describe(info))
        return ports

    def run(self, values: list) -> list:
        """`values` are those of all tensors; the results are as the file has them."""
        ins, held = (Buffer * len(values))(), []  # held: what the buffers point to
        for i, (value, port) in enumerate(zip(values, self.inputs)):
            expected = arrays.ENUM[arrays.NAME_OF[port.dtype]]
            ins[i], array = arrays.to_buffer(value, f"input '{port.name}'", expected)
            held.append(array)
        count, runs = len(self.outputs), self.output_runs
        if any(run.kind != "tensor" for run in runs):  # how many there are, these inputs may decide
            call("tn_session_bind", self.session, ins, len(ins))
            count = C.tn_session_output_count(self.session)
            of = (C.tn_session_output_compound_count, C.tn_session_output_compound, self.session)
            runs = runs_of(count, *of)
        outs = (Buffer * count)()
        call("tn_session_run", self.session, ins, len(ins), outs, count)
        results = [arrays.from_buffer(buffer) for buffer in outs]
        return [result_of(run, results) for run in runs]


def result_of(run: Run, results: list[np.ndarray]) -> Any:
    if run.count == ABSENT:
        return None
    if run.kind in ("tensor", "optional"):
        return results[run.first]
    return results[run.first : run.first + run.count]


def tensors_of(run: Run, value: Any) -> list[np.ndarray] | None:
    """What the value of a sequence or optional consists of; None: nothing is there."""
    if value is None and run.kind != "sequence":
        return None
    if run.kind == "optional":
        return [np.asarray(value)]
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"input '{run.name}' is a {run.kind}; it takes a list of arrays")
    return [np.asarray(element) for element in value]


class Model:
    """An ONNX model (a path, or the bytes of a file) or a program file (a path).

    threads: 0 for the cores of this process. cache: the folder of compiled kernels, None for the usual
    one. trust: compile the kernels of a program file of someone else, which are code; otherwise they are
    interpreted. A model serves one thread at a time; others wait.
    """

    def __init__(
        self,
        source: str | os.PathLike | bytes,
        *,
        threads: int = 0,
        no_opt: bool = False,
        cache: str | os.PathLike | None = None,
        trust: bool = False,
    ) -> None:
        self._lock = threading.Lock()
        self._forms: OrderedDict[tuple, Form] = OrderedDict()
        is_bytes = isinstance(source, (bytes, bytearray, memoryview))
        self._source = bytes(source) if is_bytes else os.fspath(source)
        self._options = ModelOptions(size=ctypes.sizeof(ModelOptions), threads=threads, no_opt=no_opt, trust=trust)
        self._options.cache = os.fsencode(cache) if cache is not None else None
        self._plain = Form(self._source, self._options)
        self.inputs = self._describe(self._plain.inputs, self._plain.input_runs)
        self.outputs = self._describe(self._plain.outputs, self._plain.output_runs)

    @staticmethod
    def _describe(ports: list[Port], runs: list[Run]) -> tuple[Port, ...]:
        result = []
        for run in runs:
            dtype = ports[run.first].dtype if run.width else None
            plain = run.kind == "tensor"
            result.append(ports[run.first] if plain else Port(run.name, dtype, None, run.kind))
        return tuple(result)

    def _by_place(self, inputs: Any) -> list:
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

    def _form_for(self, structure: tuple) -> Form:
        """structure: (name, tensors or ABSENT, their ranks) of each input that is to be bound."""
        if not structure:
            return self._plain
        if structure not in self._forms:
            bindings, options = (CompoundBinding * len(structure))(), ModelOptions()
            ctypes.pointer(options)[0] = self._options
            for binding, (name, count, ranks) in zip(bindings, structure):
                binding.name, binding.count = name.encode(), count
                binding.ranks = (ctypes.c_int * len(ranks))(*ranks)
            options.compounds, options.compound_count = bindings, len(structure)
            options.threads_of = self._plain.model
            self._forms[structure] = Form(self._source, options)
        self._forms.move_to_end(structure)
        if len(self._forms) > FORMS:
            self._forms.popitem(last=False)
        return self._forms[structure]

    def run(self, inputs: Any) -> list:
        """The outputs in the model's order, in memory of their own. Raises TenonError."""
        values, structure = [], []
        for run, value in zip(self._plain.input_runs, self._by_place(inputs)):
            if run.kind == "tensor":
                values.append(value)
                continue
            tensors = tensors_of(run, value)
            values += tensors or []
            if run.count == UNKNOWN:
                count = ABSENT if tensors is None else len(tensors)
                structure.append((run.name, count, tuple(t.ndim for t in tensors or [])))
        with self._lock:
            return self._form_for(tuple(structure)).run(values)
