"""NumPy arrays as Tenon's buffers and back.

In a buffer each element takes at least a byte; the narrow types lie in the low bits, i4 and i2 with their
sign extended. ml_dtypes has types of the same names.
"""

from __future__ import annotations

import ctypes

import ml_dtypes
import numpy as np

from .library import MAX_RANK, Buffer, C

NUMPY = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16,
    "f8e4m3fn": ml_dtypes.float8_e4m3fn, "f8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8e5m2": ml_dtypes.float8_e5m2, "f8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "f8e8m0": ml_dtypes.float8_e8m0fnu, "f4e2m1": ml_dtypes.float4_e2m1fn,
    "i64": np.int64, "i32": np.int32, "i16": np.int16, "i8": np.int8, "i4": ml_dtypes.int4,
    "i2": ml_dtypes.int2, "u64": np.uint64, "u32": np.uint32, "u16": np.uint16, "u8": np.uint8,
    "u4": ml_dtypes.uint4, "u2": ml_dtypes.uint2, "bool": np.bool_,
}  # fmt: skip


def enumerator(name: str) -> int:
    value = ctypes.c_int()
    if not C.tn_dtype_parse(name.encode(), ctypes.byref(value)):
        raise ImportError(f"the Tenon library is older than this package: it does not know {name}")
    return value.value


# Both ways: numpy's type to the name, tn_dtype to the name.
NAME_OF = {np.dtype(kind): name for name, kind in NUMPY.items()}
ENUM = {name: enumerator(name) for name in NUMPY}
NAME_AT = {value: name for name, value in ENUM.items()}
# How the narrow types are stored.
STORED = {"i4": np.int8, "i2": np.int8, "u4": np.uint8, "u2": np.uint8}


def numpy_type(dtype: int) -> np.dtype:
    """Of a tn_dtype."""
    return np.dtype(NUMPY[NAME_AT[dtype]])


def to_buffer(value, what: str, expected: int) -> tuple[Buffer, np.ndarray]:
    """The buffer, and the array that has to live as long. Python's numbers and lists take the
    expected type, arrays keep theirs; `what` begins messages."""
    array = value if isinstance(value, (np.ndarray, np.generic)) else np.asarray(value, numpy_type(expected))
    array = np.asarray(array)
    name = NAME_OF.get(array.dtype.newbyteorder("="))
    if name is None:
        raise TypeError(f"{what} is an array of {array.dtype}, which is not a data type of Tenon")
    if array.ndim > MAX_RANK:
        raise ValueError(f"{what} has {array.ndim} axes; at most {MAX_RANK}")
    shape = array.shape
    if name in STORED:
        array = array.astype(STORED[name])
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    array = np.ascontiguousarray(array)
    if name == "f4e2m1":
        array = array.view(np.uint8) & 15
    buffer = Buffer(ENUM[name], len(shape), (ctypes.c_int64 * MAX_RANK)(*shape), array.ctypes.data, array.nbytes)
    return buffer, array


def from_buffer(buffer: Buffer) -> np.ndarray:
    """A copy of what the buffer points to."""
    name = NAME_AT[buffer.dtype]
    dtype, shape = np.dtype(NUMPY[name]), tuple(buffer.dim[: buffer.rank])
    stored = np.dtype(STORED.get(name, dtype))
    size = stored.itemsize
    for length in shape:
        size *= length
    if size == 0:
        return np.empty(shape, dtype)
    raw = ctypes.string_at(buffer.data, size)
    array = np.frombuffer(raw, stored).reshape(shape)
    return array.astype(dtype) if name in STORED else array.copy()
