"""ONNX models through Tenon, a deep-learning compiler.

tenon_onnx.Model runs a model on NumPy arrays; tenon_onnx.backend is a backend as onnx defines them.
"""

from .library import TenonError
from .model import Model, Port

__all__ = ["Model", "Port", "TenonError"]

for public in (Model, Port, TenonError):
    public.__module__ = __name__  # in messages and help
