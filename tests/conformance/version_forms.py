"""Cases of operators whose attributes became inputs, or whose meaning changed, for run_versions.py."""

from __future__ import annotations

import numpy as np
from onnx_cases import Case

random = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def case(op: str, opset: int, inputs: list, outputs: int = 1, constants: tuple = (), **attributes) -> Case:
    note = f"opset {opset}, {attributes}"
    return Case(op, inputs, attributes, outputs, constants, "", opset, note=note, atol=2e-5)


def reductions() -> list[Case]:
    names = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    cases = []
    for name in names:
        x = np.abs(floats(2, 3, 4)) + 0.1
        for opset in (7, 11, 13):
            for axes in ([1], [0, -1] if opset >= 11 else [0, 2]):
                for keep in (0, 1):
                    if name == "Sum" and opset == 13:
                        continue
                    cases.append(case(f"Reduce{name}", opset, [x], axes=axes, keepdims=keep))
            cases.append(case(f"Reduce{name}", opset, [x]))
    return cases


def shapes() -> list[Case]:
    x = floats(2, 3, 4)
    cases = []
    for opset in (7, 11):
        cases += [
            case("Squeeze", opset, [floats(1, 3, 1)], axes=[0]),
            case("Squeeze", opset, [floats(1, 3, 1)]),
            case("Unsqueeze", opset, [x], axes=[0, 2]),
            case("Split", opset, [x], 2, axis=2),
            case("Split", opset, [x], 2, axis=1, split=[1, 2]),
        ]
    for opset in (7, 9):
        cases += [
            case("Slice", opset, [x], starts=[1, -3], ends=[2, 1000], axes=[1, 2]),
            case("Slice", opset, [x], starts=[0, 1], ends=[-1, 3]),
            case("TopK", opset, [x], 2, axis=-1 if opset > 9 else 2, k=2),
            case("Upsample", opset, [floats(1, 2, 3, 4)], scales=[1.0, 1.0, 2.0, 3.0], mode="nearest")
            if opset < 9
            else case("Upsample", 9, [floats(1, 2, 3, 4), np.array([1, 1, 2, 2], np.float32)], constants=(1,), mode="linear"),
        ]
    for mode in ("constant", "reflect", "edge"):
        cases.append(case("Pad", 7, [x], pads=[0, 1, 2, 1, 0, 1], mode=mode, value=2.5))
    cases += [
        case("TopK", 10, [x, np.array([2])], 2, constants=(1,), axis=1),
        case("Upsample", 7, [floats(1, 2, 3, 4)], scales=[1.0, 1.0, 2.0, 2.0], mode="linear"),
        case("Clip", 7, [x], min=-0.5, max=0.25),
        case("Clip", 7, [x], max=0.25),
        case("Clip", 7, [x]),
        case("Dropout", 7, [x], ratio=0.3),
        case("Dropout", 10, [x], ratio=0.3),
        case("Cast", 7, [floats(3, 4) * 5], to=6),
        case("Cast", 9, [floats(3, 4) * 5], to=10),
        case("Equal", 7, [np.array([1, 2]), np.array([1, 3])]),
        case("Gemm", 7, [floats(3, 4), floats(4, 5), floats(5)], alpha=0.5, beta=2.0),
        case("Gemm", 9, [floats(4, 3), floats(5, 4), floats(3, 1)], transA=1, transB=1),
        case("Scatter", 9, [x, np.array([[[1, 0, 2, 1]]]), floats(1, 1, 4)], axis=1),
        case("Hardmax", 7, [x]),
        case("Hardmax", 13, [x]),
        case("Flatten", 11, [x], axis=-1),
        case("ArgMax", 7, [x], axis=1, keepdims=0),
        case("ArgMin", 12, [np.array([[1, 1, 0, 0]])], axis=1, select_last_index=1),
        case("MeanVarianceNormalization", 9, [floats(2, 3, 4, 4)], axes=[0, 2, 3]),
    ]
    for opset in (7, 11, 13):
        for axis in (0, 1, 2):
            cases.append(case("Softmax", opset, [x], axis=axis))
            cases.append(case("LogSoftmax", opset, [x], axis=axis))
        cases.append(case("Softmax", opset, [x]))
    return cases


def layers() -> list[Case]:
    x = floats(2, 3, 4, 5)
    vectors = [floats(3), floats(3), floats(3), np.abs(floats(3)) + 0.5]
    cases = [case("BatchNormalization", opset, [x, *vectors], epsilon=1e-3) for opset in (7, 9, 14, 15)]
    cases.append(case("BatchNormalization", 15, [x, *vectors], 3, training_mode=1, momentum=0.7))
    for opset in (7, 8, 10, 11, 12, 19):
        more = {"ceil_mode": 1, "dilations": [2, 1]} if opset in (10, 11, 12, 19) else {}
        cases.append(case("MaxPool", opset, [x], kernel_shape=[2, 3], strides=[2, 2], pads=[1, 1, 0, 1], **more))
        ceil = {"ceil_mode": 1} if opset >= 10 else {}
        for include in (0, 1):
            attributes = {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 1], **ceil}
            cases.append(case("AveragePool", opset, [x], count_include_pad=include, **attributes))
    for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        cases.append(case("MaxPool", 8, [x], kernel_shape=[2, 3], strides=[2, 2], auto_pad=auto))
        cases.append(case("AveragePool", 19, [x], kernel_shape=[2, 3], strides=[2, 2], auto_pad=auto))
        cases.append(case("Conv", 11, [x, floats(6, 3, 3, 2)], auto_pad=auto, strides=[2, 1]))
        cases.append(case("ConvTranspose", 11, [x, floats(3, 2, 3, 2)], auto_pad=auto, strides=[2, 2]))
    for opset, sizes in ((18, 2), (21, 6)):
        inputs = [floats(2, 6, 4, 4), floats(sizes), floats(sizes)]
        cases.append(case("GroupNormalization", opset, inputs, num_groups=2))
    return cases


def resizes() -> list[Case]:
    x, roi = floats(1, 1, 4, 5), np.array([], np.float32)
    up, down = np.array([1, 1, 2, 1.6], np.float32), np.array([1, 1, 0.6, 0.7], np.float32)
    cases = []
    for scales in (up, down):
        for mode in ("nearest", "linear"):
            cases.append(case("Resize", 10, [x, scales], constants=(1,), mode=mode))
        for opset in (11, 13, 18, 19):
            for mode in ("nearest", "linear", "cubic"):
                for grid in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"):
                    if grid == "half_pixel_symmetric" and opset < 19:
                        continue
                    attributes = {"mode": mode, "coordinate_transformation_mode": grid}
                    inputs = [x, None if opset > 11 else roi, scales]
                    cases.append(case("Resize", opset, inputs, constants=(1, 2), **attributes))
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            cases.append(case("Resize", 13, [x, None, scales], constants=(2,), mode="nearest", nearest_mode=rounding))
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn"}
        cases.append(case("Resize", 11, [x, roi, scales], constants=(1, 2), **attributes))
    sizes = np.array([1, 1, 7, 3])
    cases.append(case("Resize", 13, [x, None, None, sizes], constants=(3,), mode="linear"))
    crop = np.array([0, 0, 0.2, 0.3, 1, 1, 0.8, 1.2], np.float32)
    attributes = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0}
    cases.append(case("Resize", 13, [x, crop, None, sizes], constants=(1, 3), **attributes))
    attributes = {"axes": [2, 3], "antialias": 1, "mode": "linear"}
    cases.append(case("Resize", 18, [x, None, down[2:]], constants=(2,), **attributes))
    return cases


ACTIVATIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
KINDS = ["Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu",
         "Softsign", "Softplus"]  # fmt: skip
WITH_ALPHA = {"Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu"}
WITH_BETA = {"Affine", "ScaledTanh", "HardSigmoid"}


def recurrent() -> list[Case]:
    cases = []
    t, n, size, hidden = 4, 3, 2, 5
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        for direction in ("forward", "reverse", "bidirectional"):
            d = 2 if direction == "bidirectional" else 1
            x, w, r = floats(t, n, size), floats(d, gates * hidden, size), floats(d, gates * hidden, hidden)
            bias, lengths = floats(d, 2 * gates * hidden), np.array([4, 2, 3], np.int32)
            state = [floats(d, n, hidden) for _ in range(2 if op == "LSTM" else 1)]
            peephole = [floats(d, 3 * hidden)] if op == "LSTM" else []
            outputs = 3 if op == "LSTM" else 2
            base = {"hidden_size": hidden, "direction": direction}
            variants = [[x, w, r], [x, w, r, bias], [x, w, r, bias, lengths], [x, w, r, bias, lengths, *state, *peephole]]
            for inputs in variants:
                for opset in (7, 14, 22):
                    cases.append(case(op, opset, inputs, outputs, **base))
            full = variants[-1]
            cases.append(case(op, 14, full, outputs, clip=0.3, **base))
            if op == "GRU":
                cases.append(case(op, 14, full, outputs, linear_before_reset=1, **base))
            if op == "LSTM":
                cases.append(case(op, 14, full, outputs, input_forget=1, **base))
            for start in range(0, len(KINDS), 3):
                kinds = [KINDS[(start + i) % len(KINDS)] for i in range(ACTIVATIONS[op])] * d
                numbers = {}
                if {"Affine", "ScaledTanh"} & set(kinds):  # for which no operator gives defaults
                    alpha = [0.3 for kind in kinds if kind in WITH_ALPHA]
                    numbers = {"activation_alpha": alpha, "activation_beta": [0.4 for kind in kinds if kind in WITH_BETA]}
                cases.append(case(op, 14, full, outputs, activations=kinds, **numbers, **base))
    return cases


def quantised() -> list[Case]:
    x = floats(3, 4, 6) * 10
    cases = []
    for dtype in (np.uint8, np.int8):
        one = [np.float32(0.3), np.array(3, dtype)]
        several = [np.array([0.3, 0.5, 0.7, 0.2], np.float32), np.array([1, 2, 3, 4], dtype)]
        stored = random.integers(0, 100, (3, 4, 6)).astype(dtype)
        for opset in (10, 13, 19, 21, 23):
            cases.append(case("QuantizeLinear", opset, [x, *one]))
            cases.append(case("DequantizeLinear", opset, [stored, *one]))
            if opset >= 13:
                cases.append(case("QuantizeLinear", opset, [x, *several], axis=1))
                cases.append(case("DequantizeLinear", opset, [stored, *several], axis=-2))
        blocks = [np.abs(floats(3, 4, 2)) + 0.1, random.integers(0, 9, (3, 4, 2)).astype(dtype)]
        for opset in (21, 23):
            cases.append(case("QuantizeLinear", opset, [x, *blocks], axis=2, block_size=3))
            cases.append(case("DequantizeLinear", opset, [stored, *blocks], axis=2, block_size=3))
    cases.append(case("QuantizeLinear", 10, [x, np.float32(0.3)]))
    for scale in (1.0, -1.0):
        cases.append(case("DynamicQuantizeLinear", 11, [np.abs(floats(3, 4)) * np.float32(scale)], 3))
    return cases


def arithmetic() -> list[Case]:
    a, b = np.array([-7, 7, -7, 7, 5], np.int32), np.array([3, -3, -3, 3, 5], np.int32)
    x, y = np.array([-7.5, 7.5, -6.0], np.float32), np.array([2.0, -2.0, 4.0], np.float32)
    bits, by = np.array([1, 16, 255], np.uint8), np.array([1, 3, 7], np.uint8)
    cases = [case("Mod", 10, [a, b]), case("Mod", 13, [a, b], fmod=1), case("Mod", 13, [x, y], fmod=1)]
    for direction in ("LEFT", "RIGHT"):
        cases.append(case("BitShift", 11, [bits, by], direction=direction))
    for opset in (7, 12, 13, 15):
        cases.append(case("Pow", opset, [np.abs(x), y]))
    cases += [
        case("Pow", 13, [a, np.array(2, np.int64)]),
        case("Pow", 13, [np.abs(a), np.array(0.5, np.float32)]),
        case("EyeLike", 9, [floats(3, 5)], k=1),
        case("EyeLike", 9, [floats(3, 5)], k=-1, dtype=7),
        case("Max", 8, [floats(3, 4), floats(4), floats(3, 1)]),
        case("Max", 12, [a, b]),
        case("Mean", 8, [floats(3, 4), floats(4)]),
        case("CumSum", 11, [floats(3, 4), np.array(1)], constants=(1,), exclusive=1, reverse=1),
        case("OneHot", 9, [np.array([0, -1, 5]), np.array(3), np.array([2.0, 5.0], np.float32)], constants=(1,)),
        case("OneHot", 11, [np.array([0, -1, 5]), np.array(3), np.array([2.0, 5.0], np.float32)], constants=(1,), axis=0),
        case("DepthToSpace", 7, [floats(1, 8, 2, 3)], blocksize=2),
        case("DepthToSpace", 11, [floats(1, 8, 2, 3)], blocksize=2, mode="CRD"),
    ]
    return cases


def samples() -> list[Case]:
    cases = []
    for opset, modes in ((16, ("bilinear", "nearest", "bicubic")), (20, ("linear", "nearest", "cubic"))):
        for mode in modes:
            for padding in ("zeros", "border", "reflection"):
                for align in (0, 1):
                    inputs = [floats(1, 2, 4, 5), floats(1, 3, 3, 2)]
                    cases.append(case("GridSample", opset, inputs, mode=mode, padding_mode=padding, align_corners=align))
    return cases


def forms() -> list[Case]:
    groups = [reductions, shapes, layers, resizes, recurrent, quantised, arithmetic, samples]
    return [case for group in groups for case in group()]
