"""The C library behind this package: finding it, its structures, its functions (include/tenon).

The library is the file that TENON_LIBRARY names; else libtenon.so beside this package; else that of a
checkout which this package is a part of (build/lib); else what the system's loader finds.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from pathlib import Path

MAX_RANK = 12  # TN_MAX_RANK
NAMES = ("libtenon.so", "libtenon.so.0")


class Error(ctypes.Structure):
    """tn_error"""

    _fields_ = [("status", ctypes.c_int), ("frame_count", ctypes.c_int),
                ("message", ctypes.c_char * 1536), ("frames", (ctypes.c_char * 160) * 8)]  # fmt: skip


class Buffer(ctypes.Structure):
    """tn_buffer"""

    _fields_ = [("dtype", ctypes.c_int), ("rank", ctypes.c_int), ("dim", ctypes.c_int64 * MAX_RANK),
                ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]  # fmt: skip


class PortInfo(ctypes.Structure):
    """tn_port_info"""

    _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_int), ("rank", ctypes.c_int),
                ("dim", ctypes.c_int64 * MAX_RANK), ("symbol", ctypes.c_char_p * MAX_RANK)]  # fmt: skip


class Compound(ctypes.Structure):
    """tn_compound: the inputs or outputs that are one sequence or optional"""

    _fields_ = [("name", ctypes.c_char_p), ("kind", ctypes.c_int), ("first", ctypes.c_int),
                ("count", ctypes.c_int)]  # fmt: skip


KINDS = ("sequence", "optional", "optional sequence")  # tn_compound_kind
ABSENT, UNKNOWN = -1, -2  # in place of a number of tensors


class CompoundBinding(ctypes.Structure):
    """tn_compound_binding"""

    _fields_ = [("name", ctypes.c_char_p), ("count", ctypes.c_int), ("ranks", ctypes.POINTER(ctypes.c_int))]


class ModelOptions(ctypes.Structure):
    """tn_model_options"""

    _fields_ = [("size", ctypes.c_size_t), ("threads", ctypes.c_int), ("mode", ctypes.c_int),
                ("no_opt", ctypes.c_bool), ("no_cache", ctypes.c_bool), ("cache", ctypes.c_char_p),
                ("dims", ctypes.c_void_p), ("dim_count", ctypes.c_int), ("dump", ctypes.c_void_p),
                ("dump_after", ctypes.c_char_p), ("dump_context", ctypes.c_void_p),
                ("no_tuned", ctypes.c_bool), ("threads_of", ctypes.c_void_p), ("trust", ctypes.c_bool),
                ("compounds", ctypes.POINTER(CompoundBinding)), ("compound_count", ctypes.c_int)]  # fmt: skip


class TenonError(RuntimeError):
    """What Tenon says of a model, a file or a run; `status` is the kind ("invalid input", …)."""

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


def candidates() -> list[str]:
    """Where the library may lie, in order."""
    named = os.environ.get("TENON_LIBRARY")
    if named:
        return [named]
    package = Path(__file__).resolve().parent
    folders = (package, package.parents[1] / "build" / "lib")
    found = [str(folder / name) for folder in folders for name in NAMES if (folder / name).exists()]
    system = ctypes.util.find_library("tenon")
    return [*found, *([system] if system else []), *NAMES]


def load() -> ctypes.CDLL:
    failures = []
    for path in candidates():
        try:
            return declare(ctypes.CDLL(path))
        except OSError as error:
            failures.append(str(error))
    raise ImportError(
        "libtenon.so is not found (" + "; ".join(failures) + "); build Tenon with make, install it, "
        "or set TENON_LIBRARY to the library's path"
    )


POINTER = ctypes.c_void_p
OUT = ctypes.POINTER(ctypes.c_void_p)
ERROR = ctypes.POINTER(Error)
BUFFERS = ctypes.POINTER(Buffer)
COMPOUND = ctypes.POINTER(Compound)
FUNCTIONS = {  # name: (result, arguments)
    "tn_dtype_parse": (ctypes.c_bool, [ctypes.c_char_p, ctypes.POINTER(ctypes.c_int)]),
    "tn_error_format": (None, [ERROR, ctypes.c_char_p, ctypes.c_size_t]),
    "tn_status_name": (ctypes.c_char_p, [ctypes.c_int]),
    "tn_model_open": (
        ctypes.c_int,
        [ctypes.c_char_p, ctypes.POINTER(ModelOptions), OUT, ERROR],
    ),
    "tn_model_open_bytes": (
        ctypes.c_int,
        [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ModelOptions), OUT, ERROR],
    ),
    "tn_model_release": (None, [POINTER]),
    "tn_model_input_count": (ctypes.c_int, [POINTER]),
    "tn_model_output_count": (ctypes.c_int, [POINTER]),
    "tn_model_input": (ctypes.c_int, [POINTER, ctypes.c_int, ctypes.POINTER(PortInfo)]),
    "tn_model_output": (ctypes.c_int, [POINTER, ctypes.c_int, ctypes.POINTER(PortInfo)]),
    "tn_model_input_compound_count": (ctypes.c_int, [POINTER]),
    "tn_model_input_compound": (ctypes.c_int, [POINTER, ctypes.c_int, COMPOUND]),
    "tn_model_output_compound_count": (ctypes.c_int, [POINTER]),
    "tn_model_output_compound": (ctypes.c_int, [POINTER, ctypes.c_int, COMPOUND]),
    "tn_session_bind": (ctypes.c_int, [POINTER, BUFFERS, ctypes.c_int, ERROR]),
    "tn_session_output_count": (ctypes.c_int, [POINTER]),
    "tn_session_output_compound_count": (ctypes.c_int, [POINTER]),
    "tn_session_output_compound": (ctypes.c_int, [POINTER, ctypes.c_int, COMPOUND]),
    "tn_session_create": (ctypes.c_int, [POINTER, OUT, ERROR]),
    "tn_session_release": (None, [POINTER]),
    "tn_session_run": (
        ctypes.c_int,
        [POINTER, BUFFERS, ctypes.c_int, BUFFERS, ctypes.c_int, ERROR],
    ),
}


def declare(c: ctypes.CDLL) -> ctypes.CDLL:
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(c, name)
        function.restype, function.argtypes = result, arguments
    return c


C = load()


def call(name: str, *args) -> None:
    """A function that ends in a tn_error *; what it says becomes the exception."""
    err = Error()
    status = getattr(C, name)(*args, ctypes.byref(err))
    if status == 0:
        return
    kind = C.tn_status_name(status).decode()
    text = ctypes.create_string_buffer(4096)
    C.tn_error_format(ctypes.byref(err), text, len(text))
    raise TenonError(text.value.decode(errors="replace") or kind, kind)
