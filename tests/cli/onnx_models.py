"""Writes a small network with random weights as ONNX, and its weights as a file of their own:

    onnx_models.py KIND SEED MODEL.onnx [WEIGHTS.npz|WEIGHTS.safetensors]
"""

import json
import os
import random
import struct
import sys
import zipfile

FLOAT = 1
INT64 = 7
BOOL = 9


def varint(value):
    out = b""
    value &= (1 << 64) - 1
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def number(at, value):
    return varint(at << 3) + varint(value)


def field(at, payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(at << 3 | 2) + varint(len(payload)) + payload


def attribute(name, value):
    message = field(1, name)
    if isinstance(value, list):
        message += b"".join(number(8, v) for v in value) + number(20, 7)
    elif isinstance(value, float):
        message += varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    else:
        message += number(3, value) + number(20, 2)
    return message


def tensor_type(shape, kind=FLOAT):
    dims = b"".join(field(1, field(2, d) if isinstance(d, str) else number(1, d)) for d in shape)
    return field(1, number(1, kind) + field(2, dims))


def type_of(at, element):
    """A sequence (4) or an optional (9)."""
    return field(at, field(1, element))


def port(name, shape, kind=FLOAT):
    """`shape` may be a type as it is."""
    return field(1, name) + field(2, shape if isinstance(shape, bytes) else tensor_type(shape, kind))


class Model:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.body = b""
        self.weights = {}

    def weight(self, name, shape, scale, mean=0.0):
        count = 1
        for d in shape:
            count *= d
        data = [mean + scale * self.random.gauss(0, 1) for _ in range(count)]
        self.weights[name] = shape, struct.pack(f"<{count}f", *data)
        return name

    def scalar(self, name, kind, data):
        """An initializer that is no weight."""
        self.body += field(5, number(2, kind) + field(8, name) + field(9, data))
        return name

    def node(self, op, name, inputs, **attributes):
        message = b"".join(field(1, i) for i in inputs) + field(2, name + ".y")
        message += field(3, name) + field(4, op)
        message += b"".join(field(5, attribute(k, v)) for k, v in attributes.items())
        self.body += field(1, message)
        return name + ".y"

    def linear(self, name, x, size, out):
        w = self.weight(name + ".weight", [out, size], size**-0.5)
        b = self.weight(name + ".bias", [out], 0.1)
        return self.node("Gemm", name, [x, w, b], transB=1)

    def conv(self, name, x, channels, out, **attributes):
        w = self.weight(name + ".weight", [out, channels, 3, 3], (9 * channels) ** -0.5)
        b = self.weight(name + ".bias", [out], 0.1)
        return self.node("Conv", name, [x, w, b], pads=[1, 1, 1, 1], kernel_shape=[3, 3], **attributes)

    def norm(self, name, x, channels):
        settings = [("weight", 0.1, 1.0), ("bias", 0.1, 0.0), ("mean", 0.1, 0.0), ("var", 0.05, 1.0)]
        names = [self.weight(f"{name}.{n}", [channels], s, m) for n, s, m in settings]
        return self.node("BatchNormalization", name, [x, *names], epsilon=1e-5)

    def write(self, path, inputs, outputs, external=None):
        """`external`: the name of a file beside the model for the weights' data."""
        graph, beside = self.body + field(2, "graph"), b""
        for name, (shape, data) in self.weights.items():
            tensor = b"".join(number(1, d) for d in shape) + number(2, FLOAT) + field(8, name)
            if external:
                places = {"location": external, "offset": str(len(beside)), "length": str(len(data))}
                tensor += b"".join(field(13, field(1, k) + field(2, v)) for k, v in places.items())
                beside += data
            graph += field(5, tensor + (number(14, 1) if external else field(9, data)))
        if external:
            open(os.path.join(os.path.dirname(path), external), "wb").write(beside)
        graph += b"".join(field(11, port(*p)) for p in inputs)
        graph += b"".join(field(12, port(*p)) for p in outputs)
        model = number(1, 9) + field(8, field(1, "") + number(2, 20)) + field(7, graph)
        open(path, "wb").write(model)

    def write_weights(self, path):
        if path.endswith(".safetensors"):
            head, data = {}, b""
            for name, (shape, part) in self.weights.items():
                place = [len(data), len(data) + len(part)]
                head[name] = {"dtype": "F32", "shape": shape, "data_offsets": place}
                data += part
            text = json.dumps(head).encode()
            open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
            return
        with zipfile.ZipFile(path, "w") as archive:
            for name, (shape, data) in self.weights.items():
                sizes = "".join(f"{d}, " for d in shape)
                text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes})}}"
                text += " " * (-(len(text) + 11) % 64) + "\n"
                head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
                archive.writestr(name + ".npy", head + data)


def mlp(m, path, activation="Relu", hidden=128, name="act1"):
    x = m.linear("fc1", "x", 64, hidden)
    y = m.linear("fc2", m.node(activation, name, [x]), hidden, 64)
    m.write(path, [("x", ["batch", 64])], [(y, ["batch", 64])])


def external(m, path):
    y = m.linear("fc1", "x", 64, 8)
    m.write(path, [("x", ["batch", 64])], [(y, ["batch", 8])], os.path.basename(path) + "_data")


def deep_mlp(m, path):
    x = "x"
    for i in range(4):
        x = m.linear(f"fc{i}", x, 64, 64)
        if i < 3:
            x = m.node("Gelu", f"act{i}", [x])
    m.write(path, [("x", ["batch", 64])], [(x, ["batch", 64])])


def resblock(m, path, c=16):
    x = m.node("Relu", "relu1", [m.norm("bn1", m.conv("conv1", "x", c, c), c)])
    x = m.node("Add", "add", [m.norm("bn2", m.conv("conv2", x, c, c), c), "x"])
    y = m.node("Relu", "relu2", [x])
    m.write(path, [("x", ["batch", c, 8, 8])], [(y, ["batch", c, 8, 8])])


def convnet(m, path, stride=2):
    x = m.node("Relu", "relu1", [m.conv("conv1", "x", 3, 32)])
    x = m.node("Relu", "relu2", [m.conv("conv2", x, 32, 32, strides=[stride, stride])])
    y = m.node("Relu", "relu3", [m.conv("conv3", x, 32, 32)])
    size = 8 // stride
    m.write(path, [("x", ["batch", 3, 8, 8])], [(y, ["batch", 32, size, size])])


def two(m, path):
    """Two inputs, two outputs."""
    x = m.linear("fc", "x", 8, 8)
    y = m.node("Mul", "gate", [x, m.node("Sigmoid", "squash", ["context"])])
    z = m.node("Softmax", "soft", [y], axis=1)
    inputs = [("x", ["batch", 8]), ("context", ["batch", 8])]
    m.write(path, inputs, [(y, ["batch", 8]), (z, ["batch", 8])])


def dropout(m, path):
    """In training mode."""
    x = m.node("Relu", "act", [m.linear("fc1", "x", 16, 32)])
    settings = [m.scalar("ratio", FLOAT, struct.pack("<f", 0.3)), m.scalar("training", BOOL, b"\1")]
    x = m.node("Dropout", "drop", [x, *settings])
    y = m.linear("fc2", x, 32, 4)
    m.write(path, [("x", ["batch", 16])], [(y, ["batch", 4])])


def shaped(m, path):
    """An input whose values decide the output's shape."""
    y = m.node("Reshape", "view", [m.linear("fc", "x", 8, 8), "shape"])
    m.write(path, [("x", ["batch", 8]), ("shape", [2], INT64)], [(y, ["rows", "columns"])])


def one(m, path):
    """A single weight."""
    y = m.node("Mul", "mul", ["x", m.weight("slope", [4], 1.0)])
    m.write(path, [("x", ["batch", 4])], [(y, ["batch", 4])])


def sparse(m, path):
    """An output whose size follows from the weight."""
    y = m.node("Mul", "mul", ["x", m.weight("slope", [4], 1.0)])
    y = m.node("NonZero", "where", [m.node("Relu", "relu", [y])])
    m.write(path, [("x", ["batch", 4])], [(y, [2, "count"], INT64)])


def open_axis(m, path):
    """Axis 1 is open."""
    y = m.node("MatMul", "product", ["x", m.weight("w", [64, 8], 0.1)])
    m.write(path, [("x", ["batch", "rows", 64])], [(y, ["batch", "rows", 8])])


def compounds(m, path):
    """A sequence and an optional come in, a sequence goes out."""
    y = m.node("SequenceInsert", "longer", ["list", "last"])
    z = m.node("ConcatFromSequence", "whole", [y], axis=0)
    has = m.node("OptionalHasElement", "has", ["bias"])
    sequence = type_of(4, tensor_type(["n", 2]))
    inputs = [("list", sequence), ("last", ["rows", 2]), ("bias", type_of(9, tensor_type([2])))]
    m.write(path, inputs, [(y, sequence), (z, ["all", 2]), (has, [], BOOL)])


KINDS = {
    "compounds": compounds,
    "external": external,
    "one": one,
    "sparse": sparse,
    "open": open_axis,
    "mlp": mlp,
    "mlp-gelu": lambda m, path: mlp(m, path, "Gelu"),
    "mlp-sizes": lambda m, path: mlp(m, path, hidden=96),
    "deep_mlp": deep_mlp,
    "resblock": resblock,
    "convnet": convnet,
    "convnet-stride": lambda m, path: convnet(m, path, 1),
    "two": two,
    "dropout": dropout,
    "shaped": shaped,
}

if __name__ == "__main__":
    model = Model(int(sys.argv[2]))
    KINDS[sys.argv[1]](model, sys.argv[3])
    if len(sys.argv) > 4:
        model.write_weights(sys.argv[4])
