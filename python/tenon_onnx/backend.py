"""Tenon as a backend of ONNX: what onnx.backend.test.BackendTest and the ONNX scoreboard call.

import tenon_onnx.backend as backend
outputs = backend.prepare(onnx.load("model.onnx")).run([x])
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from .model import Model


class TenonRep(BackendRep):
    """A compiled model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._outputs = namedtupledict("Outputs", [port.name for port in model.outputs])

    def run(self, inputs: Any, **kwargs: Any) -> tuple:  # noqa: ARG002
        """inputs: a list in the model's order, a dict by name, or the array of the only input.
        The result is a tuple that knows the outputs' names, too."""
        return self._outputs(*self.model.run(inputs))


def source_of(model: Any) -> str | bytes:
    """A path, bytes, or what onnx.load gives."""
    if isinstance(model, onnx.ModelProto):
        return model.SerializeToString()
    if isinstance(model, (str, bytes, os.PathLike)):
        return model
    raise TypeError(f"a model is an onnx.ModelProto, its bytes or a path, not {type(model).__name__}")


def port_of(name: str, value: Any) -> onnx.ValueInfoProto:
    """The declaration of an input that has this value."""

    def kind(dtype: np.dtype) -> int:
        return onnx.helper.np_dtype_to_tensor_dtype(dtype.newbyteorder("="))

    if isinstance(value, (list, tuple)):
        first = np.asarray(value[0]) if value else np.empty(0, np.float32)
        return onnx.helper.make_tensor_sequence_value_info(name, kind(first.dtype), None)
    array = np.asarray(value)
    return onnx.helper.make_tensor_value_info(name, kind(array.dtype), array.shape)


def model_of_node(node: onnx.NodeProto, values: dict[str, Any], opset: int | None) -> onnx.ModelProto:
    """A model with this node only."""
    inputs = [port_of(name, value) for name, value in values.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], node.op_type, inputs, outputs)
    standard = node.domain in ("", "ai.onnx")
    newest = onnx.defs.onnx_opset_version()
    opsets = [onnx.helper.make_opsetid("", opset if opset and standard else newest)]
    if not standard:
        opsets.append(onnx.helper.make_opsetid(node.domain, opset or 1))
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    return onnx.shape_inference.infer_shapes(model)  # the outputs' types


class TenonBackend(Backend):
    """Keyword arguments of `prepare` (threads, no_opt, cache, trust) are those of tenon_onnx.Model."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        try:
            return Device(device).type == DeviceType.CPU
        except (AttributeError, ValueError):
            return False

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:  # noqa: ARG003
        """Whether it may be prepared; what Tenon cannot do in it, `prepare` says."""
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> TenonRep:
        if not cls.supports_device(device):
            raise ValueError(f"device {device} is not supported; CPU is")
        known = {key: kwargs[key] for key in ("threads", "no_opt", "cache", "trust") if key in kwargs}
        return TenonRep(Model(source_of(model), **known))

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple:
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Any = None,  # noqa: ARG003
        **kwargs: Any,
    ) -> tuple:
        """inputs: a list in the order of the node's inputs (those left out have no place in it), or a
        dict by name. opset_version: of the node's domain; the newest otherwise."""
        names = [name for name in node.input if name]
        values = inputs if isinstance(inputs, dict) else dict(zip(names, inputs))
        return cls.run_model(model_of_node(node, values, kwargs.get("opset_version")), values, device)


is_compatible = TenonBackend.is_compatible
prepare = TenonBackend.prepare
run = TenonBackend.run_model
run_model = TenonBackend.run_model
run_node = TenonBackend.run_node
supports_device = TenonBackend.supports_device
