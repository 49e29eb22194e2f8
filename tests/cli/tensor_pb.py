"""Writes an .npy file as an ONNX TensorProto: tensor_pb.py FROM.npy TO.pb NAME [FACTOR]."""

import array
import ast
import struct
import sys

TYPES = {"<f4": 1, "<i8": 7}


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


data = open(sys.argv[1], "rb").read()
size = struct.unpack("<H", data[8:10])[0]
head = ast.literal_eval(data[10 : 10 + size].decode())
body = data[10 + size :]
if len(sys.argv) > 4:  # a wrong expectation
    numbers = array.array("f", body)
    numbers[3] *= float(sys.argv[4])
    body = numbers.tobytes()
message = b"".join(varint(1 << 3) + varint(d) for d in head["shape"])
message += varint(2 << 3) + varint(TYPES[head["descr"]])
message += field(8, sys.argv[3].encode()) + field(9, body)
open(sys.argv[2], "wb").write(message)
