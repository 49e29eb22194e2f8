"""As much of Tenon's C interface as the suites need."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build/lib/libtenon.so"
MAX_RANK = int(re.search(r"TN_MAX_RANK\D+(\d+)", (ROOT / "include/tenon/type.h").read_text()).group(1))
DTYPES = {
    name: i
    for i, name in enumerate(
        re.findall(r"DTYPE\((\w+), \w, \d+\)", (ROOT / "include/tenon/type.h").read_text())
    )
}


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("frames", ctypes.c_int), ("message", ctypes.c_char * 1536),
                ("frame", (ctypes.c_char * 160) * 8)]  # fmt: skip


class Named(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("tensor", ctypes.c_void_p)]


class Buffer(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int), ("rank", ctypes.c_int), ("dim", ctypes.c_int64 * MAX_RANK),
                ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]  # fmt: skip


class Library:
    """The functions, and a context."""

    def __init__(self, path: Path = LIBRARY) -> None:
        self.c = ctypes.CDLL(str(path))
        self.context = ctypes.c_void_p()
        self.call("tn_context_create", None, ctypes.byref(self.context))

    def call(self, name: str, *args) -> None:
        err = Error()
        if getattr(self.c, name)(*args, ctypes.byref(err)) != 0:
            raise RuntimeError(f"{name}: {err.message.decode()}")
