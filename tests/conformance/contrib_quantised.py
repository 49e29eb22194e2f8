"""Cases of the quantised operators of com.microsoft, for run_contrib.py.

Where a result is stored as integers, ONNX Runtime multiplies by rounded quotients of scales, so
neighbours of the exact value are accepted: `atol` of 1 in units of the stored type.
"""

from __future__ import annotations

import numpy as np
from onnx_cases import Case

random = np.random.default_rng(11)
F = np.float32
STORED = (np.uint8, np.int8)


def stored(dtype, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return random.integers(info.min, info.max + 1, shape).astype(dtype)


def zero(dtype) -> np.ndarray:
    return np.array(random.integers(1, 20), dtype)


def scale(size: int | None = None) -> np.ndarray:
    return random.uniform(0.01, 0.05, () if size is None else size).astype(F)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(F)


def elementwise() -> list[Case]:
    cases = []
    for dtype in STORED:
        for b_shape in ((2, 3, 4), (4,), (1, 3, 1)):
            for op, result in (("QLinearAdd", 0.05), ("QLinearMul", 0.02)):
                a = [stored(dtype, 2, 3, 4), scale(), zero(dtype)]
                b = [stored(dtype, *b_shape), scale(), zero(dtype)]
                cases.append(Case(op, [*a, *b, F(result), zero(dtype)], atol=1))
        x = [stored(dtype, 2, 3, 4), scale(), zero(dtype)]
        fixed = (1, 2, 3, 4)
        cases.append(Case("QLinearLeakyRelu", [*x, F(0.02), zero(dtype)], {"alpha": 0.3}, constants=fixed, atol=1))
        cases.append(Case("QLinearSigmoid", [*x, F(1 / 256), zero(dtype)], constants=fixed, atol=1))
        for opset in (12, 13):
            for axis in (1, -1):
                attributes = {"axis": axis, "opset": opset}
                x = [stored(dtype, 2, 3, 4, 2), F(0.05), zero(dtype)]
                least = np.array(np.iinfo(dtype).min, dtype)
                cases.append(Case("QLinearSoftmax", [*x, F(1 / 256), least], attributes, constants=fixed, atol=1))
        y = [stored(dtype, 2, 3, 4), scale(), zero(dtype)]
        x = [stored(dtype, 2, 3, 4), scale(), zero(dtype)]
        flag = random.random((2, 3, 4)) < 0.5
        fixed = (2, 3, 5, 6, 7, 8)
        cases.append(Case("QLinearWhere", [flag, *x, *y, F(0.06), zero(dtype)], constants=fixed, atol=1))
        parts = [stored(dtype, 2, 3, 4), scale(), zero(dtype), stored(dtype, 2, 2, 4), scale(), zero(dtype)]
        joined = [F(0.05), zero(dtype), *parts]
        cases.append(Case("QLinearConcat", joined, {"axis": 1}, constants=(0, 1, 3, 4, 6, 7), atol=1))
    return cases


def pooling() -> list[Case]:
    cases = []
    for dtype in STORED:
        x, fixed = [stored(dtype, 2, 4, 7, 6), scale(), zero(dtype)], (1, 2, 3, 4)
        for last in (0, 1):
            attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "channels_last": last}
            for include in (0, 1):
                attributes["count_include_pad"] = include
                inputs = [*x, F(0.02), zero(dtype)]
                cases.append(Case("QLinearAveragePool", inputs, dict(attributes), constants=fixed, atol=1))
            inputs = [*x, F(0.02), zero(dtype)]
            attributes = {"channels_last": last}
            cases.append(Case("QLinearGlobalAveragePool", inputs, attributes, constants=fixed, atol=1))
        for axes in ([2, 3], [-1]):
            inputs = [*x, F(0.02), zero(dtype)]
            number = (x[0].astype(np.float64) - x[2]) * x[1]
            mean = np.rint(number.mean(axis=tuple(axes), keepdims=True) / inputs[3]) + inputs[4]
            info = np.iinfo(dtype)
            expected = [np.clip(mean, info.min, info.max).astype(dtype)]  # the peer has no kernel for it
            attributes = {"axes": axes, "keepdims": 1}
            cases.append(Case("QLinearReduceMean", inputs, attributes, expected=expected))
    return cases


def convolutions() -> list[Case]:
    cases = []
    for dtype in STORED:
        for last in (0, 1):
            for channels in (None, 6):
                x = stored(dtype, 2, 4, 7, 6) if not last else stored(dtype, 2, 7, 6, 4)
                weights = stored(np.int8, 6, 2, 3, 3)
                w = [weights, scale(channels), np.zeros((channels,) if channels else (), np.int8)]
                inputs = [x, scale(), zero(dtype), *w, F(1.5), zero(dtype), stored(np.int16, 6).astype(np.int32)]
                attributes = {"group": 2, "pads": [1, 1, 0, 1], "strides": [2, 1], "channels_last": last}
                fixed = tuple(range(1, 9))
                cases.append(Case("QLinearConv", inputs, attributes, constants=fixed, atol=1))
    return cases


def products() -> list[Case]:
    cases = []
    for dtype in STORED:
        for n in (None, 5):
            b = [stored(dtype, 4, 5), scale(n), None if n else zero(dtype)]
            for more in ([], [floats(5)]):
                cases.append(Case("DynamicQuantizeMatMul", [floats(2, 3, 4), *b, *more], constants=(1,)))
            a = stored(np.uint8, 2, 3, 4)
            b_zero = zero(dtype) if n is None else stored(dtype, n)
            inputs = [a, stored(dtype, 4, 5), scale(), scale(n), zero(np.uint8), b_zero, floats(5)]
            cases.append(Case("MatMulIntegerToFloat", inputs))
            cases.append(Case("MatMulIntegerToFloat", inputs[:4]))
        for flags in range(4):
            a = stored(np.uint8, *((3, 4) if not flags & 1 else (4, 3)))
            b = stored(dtype, *((4, 5) if not flags & 2 else (5, 4)))
            attributes = {"transA": flags & 1, "transB": flags >> 1, "alpha": 0.7}
            pair = [a, scale(), zero(np.uint8), b, scale(), zero(dtype)]
            cases.append(Case("QGemm", pair, attributes))
            c = stored(np.int16, 5).astype(np.int32)
            cases.append(Case("QGemm", [*pair, c], attributes))
            cases.append(Case("QGemm", [*pair, c, F(0.5), zero(np.uint8)], attributes, atol=1))
    return cases


def attention() -> list[Case]:
    cases = []
    for dtype in STORED:
        for past in (0, 3):
            x, w = stored(np.uint8, 2, 4, 5), stored(dtype, 5, 24)
            keys = 4 + past
            mask = np.ones((2, keys), np.int32)
            mask[0, 1] = mask[1, 2] = 0
            for m in (None, mask, np.array([keys, keys - 1], np.int32)):
                inputs = [x, w, floats(24), F(0.02), F(0.01), m, zero(np.uint8), zero(dtype)]
                if past:
                    inputs.append(floats(2, 2, 2, past, 4))
                attributes = {"num_heads": 2, "unidirectional": int(past > 0)}
                cases.append(Case("QAttention", inputs, attributes, 2 if past else 1))
        per_column = [x, w, floats(24), F(0.02), scale(24), None, zero(np.uint8), stored(dtype, 24)]
        cases.append(Case("QAttention", per_column, {"num_heads": 2}))
    return cases


def embeddings() -> list[Case]:
    def ids(below: int) -> np.ndarray:
        return random.integers(0, below, (2, 4)).astype(np.int32)

    cases = []
    for segments in (True, False):
        tables = [stored(np.uint8, rows, 8) for rows in (9, 6, 2)] + [stored(np.uint8, 8), stored(np.uint8, 8)]
        scales, zeros = [scale() for _ in tables], [zero(np.uint8) for _ in tables]
        if not segments:
            tables[2] = scales[2] = zeros[2] = None
        inputs = [ids(9), ids(2) if segments else None, *tables, ids(2), *scales, *zeros]
        cases.append(Case("QEmbedLayerNormalization", inputs, outputs=2))
    return cases


def conversions() -> list[Case]:
    cases = []
    for dtype in (np.uint8, np.int8, np.uint16, np.int16):
        for attributes, size in (({}, None), ({"axis": 1}, 3)):
            zeros = stored(dtype, *(() if size is None else (size,)))
            cases.append(Case("QuantizeLinear", [floats(2, 3, 4), scale(size), zeros], attributes, atol=0))
            cases.append(Case("DequantizeLinear", [stored(dtype, 2, 3, 4), scale(size), zeros], attributes))
    return cases


GROUPS = [elementwise, pooling, convolutions, products, attention, embeddings, conversions]
