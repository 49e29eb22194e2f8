#!/usr/bin/env python3
"""The Python package: element types, binding, messages, ONNX's backend interface."""

from __future__ import annotations

import re
import sys
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

import tenon_onnx  # noqa: E402
import tenon_onnx.arrays  # noqa: E402
import tenon_onnx.backend as backend  # noqa: E402
import tenon_onnx.library as library  # noqa: E402

DIGITS = ROOT / "examples" / "digits"


class Mirrors(unittest.TestCase):
    """The structures of library.py are those of the headers, field by field."""

    def test_fields(self) -> None:
        text = "".join(path.read_text() for path in sorted((ROOT / "include" / "tenon").glob("*.h")))
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        mirrors = (library.Error, library.Buffer, library.PortInfo, library.Compound)
        for mirror in (*mirrors, library.CompoundBinding, library.ModelOptions):
            name = f"tn_{snake(mirror.__name__)}"
            body = re.search(rf"typedef struct {name} {{(.*?)}} {name};", text, re.DOTALL).group(1)
            body = re.sub(r"\(\*(\w+)\)\([^)]*\)", r"\1", body)  # pointers to functions
            fields = [
                re.sub(r"\[.*", "", field).split()[-1].lstrip("*")
                for line in body.split(";")
                if line.strip()
                for field in line.split(",")
            ]
            with self.subTest(name):
                self.assertEqual([field[0] for field in mirror._fields_], fields)


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


class Arrays(unittest.TestCase):
    def test_every_type_goes_through_a_model(self) -> None:
        node = helper.make_node("Identity", ["x"], ["y"])
        for kind in map(np.dtype, tenon_onnx.arrays.NUMPY.values()):
            x = np.array([[1, 0, 1], [0, 1, 1]]).astype(kind)
            if tenon_onnx.arrays.NAME_OF[kind][0] in "if":
                x[0, 0] = np.array(-1).astype(kind)  # the sign of the narrow types
            with self.subTest(str(kind)):
                [y] = backend.run_node(node, [x])
                self.assertEqual(y.dtype, kind)
                self.assertEqual(y.tobytes(), x.tobytes())

    def test_memory_may_be_strided_swapped_or_empty(self) -> None:
        node = helper.make_node("Neg", ["x"], ["y"])
        x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        for view in (x.transpose(2, 0, 1), x[:, ::-1, ::2], x.astype(">f4"), x[:, :0]):
            [y] = backend.run_node(node, [view])
            np.testing.assert_array_equal(y, -view)

    def test_results_stay(self) -> None:
        model = tenon_onnx.Model(DIGITS / "digits.onnx")
        images = np.load(DIGITS / "images.npy")
        [first] = model.run([images[:1]])
        kept = first.copy()
        model.run([images[1:3]])
        np.testing.assert_array_equal(first, kept)


class Models(unittest.TestCase):
    def test_ports_are_described(self) -> None:
        model = tenon_onnx.Model(DIGITS / "digits.onnx", threads=1)
        [image], [logits] = model.inputs, model.outputs
        self.assertEqual((image.name, image.dtype, image.shape), ("image", np.float32, ("N", 1, 8, 8)))
        self.assertEqual((logits.name, logits.shape), ("logits", ("N", 10)))

    def test_bytes_and_path_give_the_same(self) -> None:
        path = DIGITS / "digits.onnx"
        image = np.load(DIGITS / "images.npy")
        results = [tenon_onnx.Model(source).run({"image": image})[0] for source in (path, path.read_bytes())]
        np.testing.assert_array_equal(*results)

    def test_messages_are_tenons(self) -> None:
        model = tenon_onnx.Model(DIGITS / "digits.onnx")
        with self.assertRaisesRegex(tenon_onnx.TenonError, "input 'image': axis 3 has size 9, expected 8") as caught:
            model.run([np.zeros((1, 1, 8, 9), np.float32)])
        self.assertEqual(caught.exception.status, "invalid input")
        with self.assertRaisesRegex(tenon_onnx.TenonError, "ONNX"):
            tenon_onnx.Model(b"junk")
        with self.assertRaisesRegex(tenon_onnx.TenonError, "/nowhere.onnx"):
            tenon_onnx.Model("/nowhere.onnx")
        with self.assertRaisesRegex(ValueError, "input 'image' is missing"):
            model.run({"x": 1})
        with self.assertRaisesRegex(ValueError, "2 inputs given, the model has 1: image"):
            model.run([1, 2])
        with self.assertRaisesRegex(TypeError, "not a data type of Tenon"):
            model.run([np.array(["text"])])


class Sequences(unittest.TestCase):
    """Lists of arrays and None, as many as a run has."""

    def test_a_sequence_comes_and_goes(self) -> None:
        node = helper.make_node("SequenceInsert", ["s", "x"], ["t"])
        x = np.arange(3, dtype=np.float32)
        for count in (1, 3, 1):
            [result] = backend.run_node(node, [[x + i for i in range(count)], x])
            self.assertIsInstance(result, list)
            np.testing.assert_array_equal(result, [*(x + i for i in range(count)), x])

    def test_its_length_may_be_decided_by_a_value(self) -> None:
        node = helper.make_node("SplitToSequence", ["x", "sizes"], ["parts"])
        x = np.arange(6, dtype=np.float32)
        for sizes in ([2, 4], [1, 2, 3]):
            [parts] = backend.run_node(node, [x, np.array(sizes)])
            self.assertEqual([len(part) for part in parts], sizes)

    def test_an_optional_may_be_absent(self) -> None:
        tensor = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [2])
        port = helper.make_value_info("x", helper.make_optional_type_proto(tensor))
        has = helper.make_tensor_value_info("has", onnx.TensorProto.BOOL, [])
        node = helper.make_node("OptionalHasElement", ["x"], ["has"])
        model = backend.prepare(helper.make_model(helper.make_graph([node], "g", [port], [has])))
        self.assertEqual(model.model.inputs[0].kind, "optional")
        self.assertTrue(model.run([np.zeros(2, np.float32)]).has)
        self.assertFalse(model.run([None]).has)

    def test_a_list_is_asked_for(self) -> None:
        sequence = helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, None)
        count = helper.make_tensor_value_info("n", onnx.TensorProto.INT64, [])
        node = helper.make_node("SequenceLength", ["s"], ["n"])
        model = backend.prepare(helper.make_model(helper.make_graph([node], "g", [sequence], [count])))
        self.assertEqual(model.run({"s": [np.zeros(2, np.float32), np.ones(3, np.float32)]}).n, 2)
        with self.assertRaisesRegex(TypeError, "input 's' is a sequence; it takes a list of arrays"):
            model.run({"s": np.zeros(2, np.float32)})


class Backend(unittest.TestCase):
    def test_values_may_decide_shapes(self) -> None:
        node = helper.make_node("TopK", ["x", "k"], ["values", "indices"])
        x = np.array([3, 1, 2], np.float32)
        for k in (1, 2):
            result = backend.run_node(node, {"x": x, "k": np.array([k])})
            np.testing.assert_array_equal(result.values, [3, 2][:k])
            np.testing.assert_array_equal(result["indices"], [0, 2][:k])

    def test_opset_of_a_node(self) -> None:
        node = helper.make_node("Clip", ["x"], ["y"], min=0.0)  # attributes until opset 10
        [y] = backend.run_node(node, [np.array([-1, 1], np.float32)], opset_version=6)
        np.testing.assert_array_equal(y, [0, 1])

    def test_module_is_a_backend(self) -> None:
        model = onnx.load(DIGITS / "digits.onnx")
        image = np.load(DIGITS / "images.npy")
        self.assertTrue(backend.supports_device("CPU"))
        self.assertFalse(backend.supports_device("CUDA") or backend.supports_device("?"))
        self.assertTrue(backend.is_compatible(model))
        outputs = backend.run_model(model, [image], "CPU")
        self.assertEqual(outputs.logits.shape, (len(image), 10))
        with self.assertRaisesRegex(ValueError, "CUDA"):
            backend.prepare(model, "CUDA")


if __name__ == "__main__":
    unittest.main()
