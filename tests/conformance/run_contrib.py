#!/usr/bin/env python3
"""Operators of com.microsoft through `tenon verify`, compared with ONNX Runtime.

    tests/conformance/run_contrib.py [--filter TEXT] [--tenon PATH] [--compiled] [-v]

Each case is a model of one node with random inputs.  Kernels are interpreted
unless --compiled is given, which takes longer.  Exit status 0 when all passed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

import contrib_quantised  # noqa: E402
from onnx_cases import Case, report, run  # noqa: E402

random = np.random.default_rng(7)


def floats(*shape: int, dtype=np.float32) -> np.ndarray:
    return random.standard_normal(shape).astype(dtype)


# ---------------------------------------------------------------- layers


def bias_softmax(bias: np.ndarray, axis: int, inner: int) -> Case:
    x = floats(2, 3, 4, 5)
    axes = tuple(range(axis, 4))
    e = np.exp(x + bias - np.max(x + bias, axis=axes, keepdims=True))
    expected = [e / e.sum(axis=axes, keepdims=True)]
    return Case("BiasSoftmax", [x, bias], {"axis": axis, "is_inner_broadcast": inner}, expected=expected)


def activations() -> list[Case]:
    x, bias = floats(2, 3, 8), floats(8)
    return [
        Case("Gelu", [x]),
        Case("BiasGelu", [x, bias]),
        Case("FastGelu", [x]),
        Case("FastGelu", [x, bias]),
        Case("QuickGelu", [x]),
        Case("QuickGelu", [x], {"alpha": 0.7}),
        Case("QuickGelu", [x], {"alpha": -1.0}),
        bias_softmax(floats(2, 1, 1, 5), 3, 1),
        bias_softmax(floats(1, 1, 4, 5), 3, 0),
        bias_softmax(floats(1, 3, 4, 5), 1, 0),
        bias_softmax(floats(2, 1, 4, 5), 2, 1),
        Case("BiasDropout", [x, bias, x], expected=[x + bias + x]),
        Case("BiasDropout", [x, bias, None, np.float32(0.3), np.array(False)], outputs=2, constants=(3, 4), expected=[x + bias, np.ones(x.shape, bool)]),
    ]


def norms() -> list[Case]:
    x, skip, gamma, beta, bias = floats(2, 3, 8), floats(2, 3, 8), floats(8), floats(8), floats(8)
    cases = []
    for more in ([], [beta], [None, bias], [beta, bias]):
        for outputs in ("1", "1001"):
            cases.append(Case("SkipLayerNormalization", [x, skip, gamma, *more], {"epsilon": 1e-5}, outputs))
    for narrow in (floats(1, 3, 8), floats(3, 8)):
        cases.append(Case("SkipLayerNormalization", [x, narrow, gamma, beta]))
        cases.append(Case("SkipSimplifiedLayerNormalization", [x, narrow, gamma]))
    flat = [floats(6, 8), floats(6, 8), gamma]
    cases.append(Case("SkipLayerNormalization", flat))
    for more in ([], [bias]):
        for outputs in ("1", "1001"):
            inputs = [x, skip, gamma, *more]
            cases.append(Case("SkipSimplifiedLayerNormalization", inputs, {"epsilon": 1e-6}, outputs))
    for axis in (-1, 1, 2):
        scale = floats(*x.shape[axis:])
        for outputs in (1, 2):
            attributes = {"axis": axis, "epsilon": 1e-6, "stash_type": 1}
            cases.append(Case("SimplifiedLayerNormalization", [x, scale], attributes, outputs, domain=""))
        for outputs in (1, 3):
            attributes = {"axis": axis}
            cases.append(Case("LayerNormalization", [x, scale, scale], attributes, outputs, domain="", opset=11))
    return cases


def embeddings() -> list[Case]:
    def ids(*shape: int, below: int = 9) -> np.ndarray:
        return random.integers(0, below, shape).astype(np.int32)

    words, places, segments, gamma, beta = floats(9, 8), floats(6, 8), floats(2, 8), floats(8), floats(8)
    tables = [words, places, segments, gamma, beta]
    mask = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]], dtype=np.int32)
    no_segments = [ids(3, 4), None, words, places, None, gamma, beta]
    full = [ids(3, 4), ids(3, 4, below=2), *tables]
    return [
        Case("EmbedLayerNormalization", full, outputs=2),
        Case("EmbedLayerNormalization", [*full, mask], {"epsilon": 1e-5}, 2),
        Case("EmbedLayerNormalization", [*full, mask, ids(3, 4, below=6)], outputs=3),
        Case("EmbedLayerNormalization", [*full, mask, ids(1, 4, below=6)], outputs=3),
        Case("EmbedLayerNormalization", [*no_segments, mask], outputs=3),
        Case("EmbedLayerNormalization", no_segments, {"mask_index_type": 0}, "101"),
    ]


def products() -> list[Case]:
    cases = []
    shapes = [((2, 3, 4, 5), (2, 3, 5, 6)), ((4, 5), (5, 6)), ((2, 4, 5), (5, 6)), ((3, 4, 5), (3, 5, 6))]
    for a, b in shapes:
        for flags in range(4):
            x = floats(*a) if not flags & 1 else floats(*a).swapaxes(-1, -2)
            y = floats(*b) if not flags & 2 else floats(*b).swapaxes(-1, -2)
            attributes = {"transA": flags & 1, "transB": flags >> 1, "alpha": 0.5}
            cases.append(Case("FusedMatMul", [np.ascontiguousarray(x), np.ascontiguousarray(y)], attributes))
    for flags in range(1, 16):
        x, y = floats(2, 3, 4, 5), floats(2, 3, 5, 6)
        if flags & 1:
            x = x.swapaxes(-1, -2)
        if flags & 2:
            y = y.swapaxes(-1, -2)
        if flags & 4:
            x = x.transpose(2, 0, 1, 3)
        if flags & 8:
            y = y.transpose(2, 0, 1, 3)
        names = ("transA", "transB", "transBatchA", "transBatchB")
        attributes = {name: flags >> n & 1 for n, name in enumerate(names)}
        if flags & 12:
            cases.append(Case("FusedMatMul", [np.ascontiguousarray(x), np.ascontiguousarray(y)], attributes))
    kinds = [("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("LeakyRelu", {"activation_alpha": 0.3})]
    kinds += [("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}), ("Elu", {"activation_alpha": 0.7})]
    for kind, numbers in kinds:
        attributes = {"activation": kind, "alpha": 0.5, "beta": 2.0, "transB": 1, **numbers}
        cases.append(Case("FusedGemm", [floats(3, 4), floats(5, 4), floats(5)], attributes))
    return cases


def convolutions() -> list[Case]:
    cases = []
    x, w, bias = floats(2, 4, 7, 6), floats(6, 2, 3, 3), floats(6)
    base = {"group": 2, "pads": [1, 1, 0, 1], "strides": [2, 1]}
    kinds = [("Relu", []), ("Tanh", []), ("Sigmoid", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5])]
    for kind, numbers in [*kinds, ("HardSigmoid", [0.3, 0.4])]:
        attributes = {"activation": kind, **base}
        if numbers:
            attributes["activation_params"] = numbers
        cases.append(Case("FusedConv", [x, w, bias], attributes))
    attributes = {"activation": "Relu", **base}
    cases.append(Case("FusedConv", [x, w, bias, floats(2, 6, 3, 6)], attributes))
    cases.append(Case("FusedConv", [x, w], attributes))
    for dtype in (np.int8, np.uint8):
        pixels = random.integers(-100, 100, (2, 7, 6, 5)).astype(dtype)
        attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}
        cases.append(Case("NhwcMaxPool", [pixels], attributes))
        cases.append(Case("NhwcMaxPool", [pixels], {"kernel_shape": [2, 2], "dilations": [2, 1]}))
    return cases


# ---------------------------------------------------------------- attention

BATCH, HEADS, LENGTH, PAST, SIZE = 2, 2, 4, 3, 6
HIDDEN = HEADS * SIZE


def masks(keys: int) -> list[np.ndarray]:
    """Each form of a mask for LENGTH queries and `keys` keys."""
    full = (random.random((BATCH, keys)) < 0.7).astype(np.int32)
    full[:, 0] = 1
    rows = (random.random((BATCH, LENGTH, keys)) < 0.7).astype(np.int32)
    rows[:, :, 0] = 1
    ends = np.array([keys, keys - 1], dtype=np.int32)
    starts = np.array([0, 1], dtype=np.int32)
    hidden = full.copy()
    hidden[1] = 0
    return [full, rows, ends, np.concatenate([ends, starts]), hidden]


def projected_attention() -> list[Case]:
    x, weights, bias = floats(BATCH, LENGTH, 5), floats(5, 3 * HIDDEN), floats(3 * HIDDEN)
    past = floats(2, BATCH, HEADS, PAST, SIZE)
    cases = []
    for before in (None, past):
        keys = LENGTH + (PAST if before is not None else 0)
        outputs = 1 if before is None else 2
        added = [None, floats(BATCH, HEADS, LENGTH, keys), floats(1, HEADS, LENGTH, keys), floats(1, 1, LENGTH, keys)]
        for causal in (0, 1):
            attributes = {"num_heads": HEADS, "unidirectional": causal}
            for n, mask in enumerate([None, *masks(keys)]):
                inputs = [x, weights, bias, mask, before]
                cases.append(Case("Attention", inputs, attributes, outputs, note=f"mask form {n} causal {causal} past {outputs - 1}"))
            for more in added[1:] if before is None else ():
                inputs = [x, weights, bias, None, before, more]
                cases.append(Case("Attention", inputs, attributes, outputs, note=f"bias {more.shape} causal {causal}"))
            if before is not None:
                continue
            inputs = [x, weights, bias, masks(keys)[0], before, added[1]]
            cases.append(Case("Attention", inputs, attributes, outputs, note=f"mask and bias causal {causal}"))
    uneven = {"num_heads": HEADS, "qkv_hidden_sizes": [HIDDEN, HIDDEN, 2 * HIDDEN]}
    cases.append(Case("Attention", [x, floats(5, 4 * HIDDEN), floats(4 * HIDDEN)], uneven))
    numbers = {"num_heads": HEADS, "scale": 0.3, "mask_filter_value": -2.0}
    cases.append(Case("Attention", [x, weights, bias, masks(LENGTH)[0]], numbers))
    cases.append(Case("Attention", [x, weights, bias], {"num_heads": HEADS}, 2))
    keys = LENGTH + PAST
    full = np.tril(np.ones((BATCH, 1, 9, 9), dtype=np.int32))
    rows = np.ascontiguousarray(full[:, 0, PAST:keys, :keys])
    like = Case("Attention", [x, weights, bias, rows, past], {"num_heads": HEADS}, 2)
    cases.append(Case("Attention", [x, weights, bias, full, past], {"num_heads": HEADS}, 2, note="square mask", like=like))
    return cases


def multi_head_attention() -> list[Case]:
    q, k, v = floats(BATCH, LENGTH, HIDDEN), floats(BATCH, 5, HIDDEN), floats(BATCH, 5, HIDDEN)
    bias, past = floats(3 * HIDDEN), [floats(BATCH, HEADS, PAST, SIZE) for _ in range(2)]
    ready = [floats(BATCH, HEADS, 5, SIZE) for _ in range(2)]
    packed, packed_kv = floats(BATCH, LENGTH, HEADS, 3, SIZE), floats(BATCH, 5, HEADS, 2, SIZE)
    base = {"num_heads": HEADS}
    apart = [np.ascontiguousarray(packed[:, :, :, i]).reshape(BATCH, LENGTH, HIDDEN) for i in range(3)]
    apart_kv = [np.ascontiguousarray(packed_kv[:, :, :, i]).reshape(BATCH, 5, HIDDEN) for i in range(2)]
    cases = []
    # what the peer's CPU kernels refuse, beside the same unpacked
    for inputs, same in (([packed, None, None], apart), ([q, packed_kv, None], [q, *apart_kv])):
        for more in ([], [bias], [bias, masks(same[1].shape[1])[0]]):
            like = Case("MultiHeadAttention", [*same, *more], base)
            cases.append(Case("MultiHeadAttention", [*inputs, *more], base, note="packed", like=like))
    for name, inputs in {"apart": [q, k, v], "ready": [q, *ready]}.items():
        keys = 5
        cases.append(Case("MultiHeadAttention", inputs, base, note=name))
        cases.append(Case("MultiHeadAttention", [*inputs, bias], base, note=f"{name}, bias"))
        for n, mask in enumerate(masks(keys)):
            if mask.shape == (2 * BATCH,):
                continue
            cases.append(Case("MultiHeadAttention", [*inputs, None, mask], base, note=f"{name}, mask form {n}"))
        added = floats(1, HEADS, LENGTH, keys)
        both = [*inputs, bias, masks(keys)[0], added]
        cases.append(Case("MultiHeadAttention", both, {**base, "scale": 0.4}, note=f"{name}, all"))
    square = [q, floats(BATCH, LENGTH, HIDDEN), floats(BATCH, LENGTH, HIDDEN)]
    cases.append(Case("MultiHeadAttention", square, {**base, "unidirectional": 1}, note="causal"))
    wide = floats(BATCH, 5, 2 * HIDDEN)
    cases.append(Case("MultiHeadAttention", [q, k, wide], base, note="wide values"))
    cases.append(Case("MultiHeadAttention", [q, k, wide, floats(4 * HIDDEN)], base, note="wide values, bias"))
    new = [q, floats(BATCH, LENGTH, HIDDEN), floats(BATCH, LENGTH, HIDDEN)]
    for causal in (0, 1):
        for mask in (None, masks(LENGTH + PAST)[0], masks(LENGTH + PAST)[1]):
            attributes = {**base, "unidirectional": causal}
            cases.append(Case("MultiHeadAttention", [*new, bias, mask, None, *past], attributes, 3, note="past"))
    added = floats(BATCH, 1, LENGTH, LENGTH + PAST)
    cases.append(Case("MultiHeadAttention", [*new, None, None, added, *past], base, 3, note="past, bias"))
    cases.append(Case("MultiHeadAttention", [*new], base, 3, note="present"))
    cases.append(Case("MultiHeadAttention", [*new, bias, masks(LENGTH)[0]], base, 4, note="scores", dtype=1))
    return cases


def rotations() -> list[Case]:
    angles = floats(16, SIZE // 2)
    tables = [np.cos(angles), np.sin(angles)]
    x, heads = floats(BATCH, LENGTH, HIDDEN), floats(BATCH, HEADS, LENGTH, SIZE)
    at = random.integers(0, 16, (BATCH, LENGTH))
    cases = []
    for interleaved in (0, 1):
        attributes = {"interleaved": interleaved}
        for places in (at, np.array([3])):
            cases.append(Case("RotaryEmbedding", [x, places, *tables], attributes))
            cases.append(Case("RotaryEmbedding", [heads, places, *tables], attributes))
            part = {**attributes, "num_heads": HEADS, "rotary_embedding_dim": 4}
            few = [np.ascontiguousarray(table[:, :2]) for table in tables]
            cases.append(Case("RotaryEmbedding", [x, places, *few], part))
        cases.append(Case("RotaryEmbedding", [x, at, *tables], {**attributes, "scale": 0.5}))
    return cases


def grouped_query_attention() -> list[Case]:
    heads, kv, size = 4, 2, 16
    angles = floats(32, size // 2)
    tables = [np.cos(angles), np.sin(angles)]
    base = {"num_heads": heads, "kv_num_heads": kv}

    def case(note: str, s: int, past: int, lengths: list[int], capacity: int | None = None, more: dict = {},
             rotary: bool = False, packed: bool = False, positions=None, added=False, sink=False) -> Case:
        n = len(lengths)
        if packed:
            qkv = [floats(n, s, (heads + 2 * kv) * size), None, None]
        else:
            qkv = [floats(n, s, heads * size), floats(n, s, kv * size), floats(n, s, kv * size)]
        total = max(lengths)
        held = capacity or past
        cache = [floats(n, kv, held, size) for _ in range(2)]
        for k in cache:  # what is not there yet is zero
            for i, length in enumerate(lengths):
                k[i, :, max(length - s, 0):] = 0
        inputs = [*qkv, *cache, np.array(lengths, np.int32) - 1, np.array(total, np.int32)]
        attributes = {**base, **more}
        inputs += tables if rotary else [None, None]
        inputs += [positions, floats(n, heads, s, total) if added else None, floats(heads) if sink else None]
        if rotary:
            attributes["do_rotary"] = 1
        while inputs[-1] is None:
            inputs.pop()
        return Case("GroupQueryAttention", inputs, attributes, 3, constants=(6,), note=note)

    variants = {"plain": {}, "rotary": {"rotary": True}, "packed": {"packed": True},
                "interleaved": {"rotary": True, "more": {"rotary_interleaved": 1}},
                "packed rotary": {"packed": True, "rotary": True},
                "softcap": {"more": {"softcap": 2.0, "scale": 0.7}}, "window": {"more": {"local_window_size": 2}},
                "window 1": {"more": {"local_window_size": 1}},
                "smooth": {"more": {"smooth_softmax": 1}}, "sink": {"sink": True}, "added": {"added": True},
                "added, softcap, window": {"added": True, "more": {"softcap": 2.0, "local_window_size": 3}}}
    cases = []
    for name, options in variants.items():
        cases.append(case(f"{name}, prompt", 5, 0, [5, 5], **options))
        cases.append(case(f"{name}, prompt into a buffer", 5, 0, [5, 5], capacity=12, **options))
        cases.append(case(f"{name}, next", 1, 5, [6, 6], **options))
        cases.append(case(f"{name}, next in a buffer", 1, 5, [6, 4], capacity=12, **options))
        cases.append(case(f"{name}, several next", 3, 5, [8], capacity=12, **options))
    at = np.array([[4]])
    cases.append(case("positions", 1, 5, [6], positions=at, rotary=True))
    cases.append(case("not causal", 5, 0, [5, 5], more={"causal": 0}))
    return cases


def few_bits() -> list[Case]:
    cases = []
    for bits in (2, 4, 8):
        for block in (16, 32, 128):
            for k in (64, 40):
                n, blocks = 3, -(-k // block)
                weights = random.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8)
                zeros = random.integers(0, 256, (n, -(-blocks * bits // 8))).astype(np.uint8)
                scales = random.uniform(0.1, 0.2, (n, blocks)).astype(np.float32)
                attributes = {"K": k, "N": n, "bits": bits, "block_size": block}
                x = floats(2, 5, k)
                more = [[], [zeros], [zeros, None, floats(n)]]
                if bits != 8:  # where the peer has zeros that are floats
                    more.append([floats(n, blocks)])
                for extra in more:
                    inputs = [x, weights, scales, *extra]
                    cases.append(Case("MatMulNBits", inputs, attributes, constants=(1, 2, 3, 5), note=str(attributes)))
    return cases


def aliases() -> list[Case]:
    x = floats(3, 4)
    return [
        Case("Trilu", [x], {"upper": 0}), Case("Trilu", [x, np.array(1)], {"upper": 1}),
        Case("Range", [np.array(1, np.int32), np.array(9, np.int32), np.array(3, np.int32)], constants=(0, 1, 2)),
        Case("Pad", [x, np.array([1, 0, 0, 2]), np.array(7, np.float32)], constants=(1,)),
        Case("Pad", [x, np.array([1, 0, 0, 2])], {"mode": "edge"}, constants=(1,)),
        Case("GridSample", [floats(1, 2, 4, 5), floats(1, 3, 3, 2)]),
        Case("GridSample", [floats(1, 2, 4, 5), floats(1, 3, 3, 2)], {"mode": "bicubic", "padding_mode": "reflection", "align_corners": 1}),
        Case("GatherND", [x, np.array([[0, 1], [2, 3]])]),
        Case("ExpandDims", [x, np.array(1, np.int32)]), Case("ExpandDims", [x, np.array(-1, np.int32)]),
        Case("Inverse", [floats(2, 3, 3)]), Case("CDist", [floats(4, 3), floats(5, 3)], {"metric": "euclidean"}),
        Case("CDist", [floats(4, 3), floats(5, 3)]),
    ]


GROUPS = [activations, norms, embeddings, products, convolutions, projected_attention, multi_head_attention,
          rotations, grouped_query_attention, few_bits, aliases,
          *contrib_quantised.GROUPS]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="", metavar="TEXT", help="only operators with this name")
    parser.add_argument("--tenon", type=Path, default=ROOT / "build" / "tenon", metavar="PATH")
    parser.add_argument("--compiled", action="store_true", help="compile the kernels")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what ONNX Runtime does not run")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    cases = [case for group in GROUPS for case in group() if options.filter in case.op]
    extra = () if options.compiled else ("--interpret",)
    return 1 if report(run(cases, options.tenon, extra=extra), options.verbose) else 0


if __name__ == "__main__":
    sys.exit(main())
