"""The wire format of ONNX, for files that no exporter would write."""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "cli"))
from onnx_models import field, number, port, varint  # noqa: E402, F401

FLOAT, UINT8, INT32, INT64, STRING, BOOL, INT4 = 1, 2, 6, 7, 8, 9, 22


def attribute(name, value):
    """An integer, a list of them, a float, a text, or a graph's bytes."""
    body = field(1, name)
    if isinstance(value, bool) or isinstance(value, int):
        return body + number(3, int(value)) + number(20, 2)
    if isinstance(value, float):
        return body + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    if isinstance(value, str):
        return body + field(4, value) + number(20, 3)
    if isinstance(value, bytes):
        return body + field(6, value) + number(20, 5)
    return body + b"".join(number(8, v) for v in value) + number(20, 7)


def node(op, inputs, outputs, domain="", **attributes):
    body = b"".join(field(1, i) for i in inputs.split()) + b"".join(field(2, o) for o in outputs.split())
    body += field(3, "n") + field(4, op) + (field(7, domain) if domain else b"")
    return field(1, body + b"".join(field(5, attribute(k, v)) for k, v in attributes.items()))


def tensor(name, dims, kind=FLOAT, raw=None, extra=b""):
    body = b"".join(number(1, d) for d in dims) + number(2, kind) + field(8, name)
    return body + (field(9, raw) if raw is not None else b"") + extra


def ints(name, values, dims=None):
    return field(5, tensor(name, [len(values)] if dims is None else dims, INT64,
                           struct.pack(f"<{len(values)}q", *values)))


def floats(name, values, dims=None):
    return field(5, tensor(name, [len(values)] if dims is None else dims, FLOAT,
                           struct.pack(f"<{len(values)}f", *values)))


def external(dims, *entries):
    """The initializer w, whose bytes lie elsewhere."""
    pairs = b"".join(field(13, field(1, k) + field(2, v)) for k, v in entries)
    return field(5, tensor("w", dims, FLOAT, None, pairs + number(14, 1)))


def graph(body, inputs=(("x", [2, 3]),), kind=FLOAT):
    ends = b"".join(field(11, port(*p)) for p in inputs)
    ends += field(12, field(1, "y") + field(2, field(1, number(1, kind))))
    return field(2, "g") + body + ends


def model(body, inputs=(("x", [2, 3]),), opset=21, functions=b"", kind=FLOAT):
    sets = field(8, field(1, "") + number(2, opset)) + field(8, field(1, "com.microsoft") + number(2, 1))
    sets += field(8, field(1, "local") + number(2, 1))
    return number(1, 9) + sets + field(7, graph(body, inputs, kind)) + functions


def function(name, nodes):
    head = field(1, name) + field(4, "a") + field(5, "b") + field(10, "local")
    sets = field(9, field(1, "") + number(2, 21)) + field(9, field(1, "local") + number(2, 1))
    return field(25, head + nodes + sets)


def function_node(op, inputs, outputs, domain=""):
    """As node, at a function's place for nodes."""
    whole = node(op, inputs, outputs, domain)
    return b"\x3a" + whole[1:]


def npy(shape, code="<f4", data=b"", version=1, header=None):
    text = header if header is not None else f"{{'descr': '{code}', 'fortran_order': False, 'shape': {shape}}}"
    text = text.encode() if isinstance(text, str) else text
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data
