"""ONNX models through Tenon, a deep-learning compiler.

tenon_onnx.Model runs a model on NumPy arrays; tenon_onnx.backend is a backend as onnx defines them.
"""

from .model import Model, Port, TenonError

__all__ = ["Model", "Port", "TenonError"]

for public in (Model, Port, TenonError):
    public.__module__ = __name__  # in messages and help
