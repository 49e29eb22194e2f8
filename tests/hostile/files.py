"""Hostile files: what each is, and what is said of it. WORDS None: it runs."""

import io
import json
import os
import struct
import zipfile

from wire import *  # noqa: F403

MOST = (1 << 63) - 1
LEAST = -(1 << 63)
PETA = 1 << 50
NAN = float("nan")


def one(op, inputs="x", inits=b"", ins=(("x", [2, 3]),), opset=21, domain="", **attributes):
    """A model of one node from `inputs` to y."""
    return model(inits + node(op, inputs, "y", domain, **attributes), ins, opset=opset)


IMAGE = (("x", [1, 4, 8, 8]),)
KERNEL = floats("w", [1.0] * 144, [4, 4, 3, 3])
WEIGHT = floats("w", [1.0] * 6, [2, 3])


def conv(**attributes):
    return one("Conv", "x w", KERNEL, IMAGE, **attributes)


def pool(op="MaxPool", **attributes):
    return one(op, "x", b"", IMAGE, **attributes)


def sized(op, values, inputs="x s", **attributes):
    return one(op, inputs, ints("s", values), **attributes)


def crop(roi):
    return model(floats("q", roi) + floats("s", [2.0, 2.0]) +
                 node("Resize", "x q s", "y", mode="linear", coordinate_transformation_mode="tf_crop_and_resize"))


def stored(raw=None, dims=(2, 3), kind=FLOAT, extra=b""):
    return model(field(5, tensor("w", dims, kind, raw, extra)) + node("Add", "x w", "y"))


def at(*entries, dims=(2, 3)):
    return model(external(dims, *entries) + node("Add", "x w", "y"))


def nested_graphs(depth):
    inner = field(2, "g")
    for _ in range(depth):
        inner = field(1, field(4, "If") + field(5, field(6, inner)))
    return number(1, 9) + field(7, inner)


def doubling(levels):
    """Each function calls the next one ten times."""
    functions = b""
    for i in range(levels):
        last = i + 1 == levels
        nodes = b"".join(function_node("Relu" if last else f"f{i + 1}", "a", "b" if k == 9 else f"t{k}",
                                       "" if last else "local") for k in range(10))
        functions += function(f"f{i}", nodes)
    return model(node("f0", "x", "y", "local"), functions=functions)


def calls(*pairs):
    functions = b"".join(function(a, function_node(b, "a", "b", "local")) for a, b in pairs)
    return model(node(pairs[0][0], "x", "y", "local"), functions=functions)


# (name, bytes, words of the message)
ONNX = [
    # What is no model.
    ("empty", b"", "there is no graph"),
    ("text", b"GGUF is another format, and this is neither", "not an ONNX model"),
    ("gguf", b"GGUF" + struct.pack("<IQQ", 3, 1 << 61, 1 << 61), "not an ONNX model"),
    ("cut", one("Relu")[:-5], "damaged"),
    ("length_beyond", number(1, 9) + b"\x3a" + varint(1 << 62), "damaged"),
    ("long_varint", b"\x08" + b"\xff" * 20, "damaged"),
    ("wire_type", b"\x3d" + b"\0" * 4, "damaged"),
    ("deep", nested_graphs(60), "nested"),
    ("very_deep", nested_graphs(3000), "nested"),
    ("empty_nodes", number(1, 9) + field(7, b"\x0a\x00" * 2000000), "MiB of memory"),
    ("two_graphs", one("Relu") + field(7, field(2, "h")), "two graphs"),
    ("zero_in_name", model(node("Re\0lu", "x", "y")), "zero byte"),
    ("not_utf8", model(field(1, field(1, b"x") + field(2, b"\xff\xfe") + field(4, b"\xc3\x28"))), "is not supported"),
    ("escape_in_name", model(field(1, field(1, "x") + field(2, "y") + field(4, "\x1b[2J\x07"))), "?[2J?"),
    ("format_in_name", model(field(1, field(1, "x") + field(2, "y") + field(3, "%s%n%n") + field(4, "%n%s"))),
     "'%s%n%n' (%n%s)"),
    # Graphs and functions.
    ("calls_itself", calls(("f", "f")), "node 'n' (f): node 'n' (f): node 'n' (f): node 'n' (f): node"),
    ("calls_in_a_ring", calls(("f", "g"), ("g", "h"), ("h", "f")), "node 'n' (g): node 'n' (h): node 'n' (f): node 'n' (g): node"),
    ("doubling", doubling(12), "node 'n' (f7): node 'n' (f8): node 'n' (f9): node 'n' (f10):"),
    ("ring_of_nodes", model(node("Add", "x b", "a") + node("Add", "x a", "b") + node("Relu", "a", "y")), "input 'b' is not computed before it: nodes must be in topolo"),
    ("reads_itself", model(node("Add", "x y", "y")), "input 'y' is not computed before it: nodes must be in topolo"),
    ("written_twice", model(node("Relu", "x", "y") + node("Abs", "x", "y")), "'y' is defined twice"),
    ("initialized_twice", model(WEIGHT + WEIGHT + node("Add", "x w", "y")), "'w' is defined twice"),
    ("no_output", model(node("Relu", "x", "z")), "output 'y' is not computed by any node"),
    # Tensors.
    ("elements_overflow", stored(b"", [1 << 32, 1 << 32]), "overflows"),
    ("elements_overflow_wrap", stored(b"\0" * 24, [1 << 62, 4, 6]), "overflows"),
    ("elements_overflow_zero", stored(b"", [0, MOST, MOST]), "overflows"),
    ("size_negative", stored(b"\0" * 24, [-2, -3]), "has size -2"),
    ("size_least", stored(b"", [LEAST]), "has size"),
    ("rank", stored(b"", [1] * 100), "too many axes"),
    ("raw_short", stored(b"\0" * 23), "23 bytes of data"),
    ("raw_long", stored(b"\0" * 25), "25 bytes of data"),
    ("numbers_short", stored(None, extra=field(4, b"\0" * 8)), "2 numbers"),
    ("numbers_broken", stored(None, kind=INT64, extra=field(7, b"\x80" * 6)), "initializer 'w': 0 numbers; its shape needs 6"),
    ("type_unknown", stored(b"\0" * 24, kind=99), "is not an element type"),
    ("type_text", stored(b"\0" * 24, kind=STRING), "STRING"),
    ("nibbles_short", stored(b"\0", [5], INT4), "1 bytes of data"),
    # External data: see also what run.py makes of links and pipes.
    ("up", at(("location", "../secret")), "only files beneath"),
    ("junk_up", at(("location", "junk/../../secret")), "only files beneath"),
    ("absolute", at(("location", "/etc/passwd")), "only files beneath"),
    ("no_name", at(("location", "")), "only files beneath"),
    ("dot", at(("location", ".")), "not a regular file"),
    ("long_name", at(("location", "a" * 5000)), "File name too long"),
    ("long_path", at(("location", "a/" * 5000)), "initializer 'w': external data:"),
    ("link", at(("location", "link")), "symbolic link"),
    ("link_inside", at(("location", "inside")), "symbolic link"),
    ("link_parent", at(("location", "parent/secret")), "symbolic link"),
    ("link_proc", at(("location", "proc/self/environ")), "symbolic link"),
    ("hard_link", at(("location", "hard")), "hard links"),
    ("pipe", at(("location", "pipe")), "not a regular file"),
    ("folder", at(("location", "sub")), "not a regular file"),
    ("absent", at(("location", "none")), "No such file"),
    ("backslash", at(("location", "..\\secret")), "No such file"),
    ("negative_offset", at(("location", "w"), ("offset", "-1")), "'-1' is not a number"),
    ("negative_length", at(("location", "w"), ("length", "-24")), "'-24' is not a number"),
    ("offset_beyond", at(("location", "w"), ("offset", "25")), "do not lie in its 24 bytes"),
    ("offset_wraps", at(("location", "w"), ("offset", str(2**64 - 8)), ("length", "24")), "do not lie in"),
    ("offset_huge", at(("location", "w"), ("offset", str(2**64))), "is not a number"),
    ("petabyte", at(("location", "w"), ("length", str(PETA))), "do not lie in its 24 bytes"),
    ("petabyte_shape", at(("location", "w"), dims=[PETA // 4]), "24 bytes of data"),
    ("hex_offset", at(("location", "w"), ("offset", "0x8")), "is not a number"),
    ("no_location", at(("offset", "0")), "without a location"),
    # Divisions by zero and sizes that overflow.
    ("conv_stride_0", conv(strides=[0, 1]), "attribute 'strides' holds 0"),
    ("conv_stride_negative", conv(strides=[-1, 1]), "attribute 'strides' holds -1"),
    ("conv_stride_most", conv(strides=[MOST, MOST]), "attribute 'strides' holds"),
    ("conv_dilation_0", conv(dilations=[0, 1]), "attribute 'dilations' holds 0"),
    ("conv_dilation_most", conv(dilations=[MOST, MOST]), "attribute 'dilations' holds"),
    ("conv_group_0", conv(group=0), "attribute 'group' is 0"),
    ("conv_group_negative", conv(group=-4), "attribute 'group' is -4"),
    ("conv_group_3", conv(group=3), "conv: weight has 4 input channels, input has 4 (f32[1,4,8,8]"),
    ("conv_pad_most", conv(pads=[MOST, 0, MOST, 0]), "attribute 'pads' holds 9223372036854775807; expected -2147483647"),
    ("conv_pad_least", conv(pads=[LEAST, 0, 0, 0]), "attribute 'pads' holds -9223372036854775808; expected -2147483647"),
    ("conv_kernel_0", one("Conv", "x w", floats("w", [], [4, 4, 0, 3]), IMAGE), "attribute 'kernel_shape' holds 0"),
    ("conv_kernel_larger", one("Conv", "x w", floats("w", [1.0] * 1600, [4, 4, 10, 10]), IMAGE), "conv 'n' (f32[1,8,8,4], f32[10,10,4,4]): operand 0 is f32[1,"),
    ("conv_kernel_shape", conv(kernel_shape=[0, 0]), "attribute 'kernel_shape' holds 0"),
    ("conv_channels_0", one("Conv", "x w", floats("w", [], [4, 0, 3, 3]), IMAGE), "conv: weight has 0 input channels, input has 4 (f32[1,4,8,8]"),
    ("conv_few_strides", conv(strides=[1]), "attribute 'strides' has 1 entries; expected 2"),
    ("transposed_stride_0", one("ConvTranspose", "x w", KERNEL, IMAGE, strides=[0, 0]), "attribute 'strides' holds 0"),
    ("transposed_output", one("ConvTranspose", "x w", KERNEL, IMAGE, output_shape=[MOST, 1]), "attribute 'output_shape' holds 9223372036854775807"),
    ("transposed_output_least", one("ConvTranspose", "x w", KERNEL, IMAGE, output_shape=[8, -MOST - 1]), "attribute 'output_shape' holds -9223372036854775808"),
    ("transposed_pad_least", one("ConvTranspose", "x w", KERNEL, IMAGE, pads=[LEAST, 0, 0, 0]), "attribute 'pads' holds -9223372036854775808;"),
    ("transposed_group_0", one("ConvTranspose", "x w", KERNEL, IMAGE, group=0), "attribute 'group' is 0"),
    ("pool_kernel_0", pool(kernel_shape=[0, 0]), "attribute 'kernel_shape' holds 0"),
    ("pool_kernel_most", pool(kernel_shape=[MOST, MOST]), "attribute 'kernel_shape' holds"),
    ("pool_stride_0", pool(kernel_shape=[2, 2], strides=[0, 0]), "attribute 'strides' holds 0"),
    ("pool_dilation_0", pool(kernel_shape=[2, 2], dilations=[0, 0]), "attribute 'dilations' holds 0"),
    ("average_stride_0", pool("AveragePool", kernel_shape=[2, 2], strides=[0, 0]), "attribute 'strides' holds 0"),
    ("lp_p_0", pool("LpPool", kernel_shape=[2, 2], p=0), "attribute 'p' is 0; expected a whole number from 1"),
    ("lp_p_wraps", pool("LpPool", kernel_shape=[2, 2], p=(1 << 32) + 2), "attribute 'p' is 4294967298"),
    ("lp_p_float", one("LpPool", "x", b"", IMAGE, 1, kernel_shape=[2, 2], p=1e30), "attribute 'p' is 1.0000000150474662e+30"),
    ("lp_p_nan", one("GlobalLpPool", "x", b"", IMAGE, 1, p=NAN), "attribute 'p' is nan"),
    ("lp_p_between", one("GlobalLpPool", "x", b"", IMAGE, 1, p=2.5), "attribute 'p' is 2.5"),
    ("lp_norm_wraps", one("LpNormalization", p=(1 << 32) + 2), "attribute 'p' is 4294967298"),
    ("pool_pad_most", pool(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, pads=[MOST, 0, MOST, 0]), "attribute 'pads' holds 9223372036854775807;"),
    ("average_pad_most", pool("AveragePool", kernel_shape=[2, 2], strides=[2, 2], pads=[MOST, 0, 1, 0], ceil_mode=1,
                              count_include_pad=1), "attribute 'pads' holds 9223372036854775807;"),
    ("average_kernel", one("AveragePool", "x", b"", (("x", [1, 1, 2, 2, 2]),), kernel_shape=[(1 << 31) - 1] * 3), "a window of 2147483647 with dilation 1 does not fit into axis 2"),
    ("lrn_0", pool("LRN", size=0), "size 0; channels are summed over at least 1"),
    ("depth_block_0", pool("DepthToSpace", blocksize=0), "depth_to_space: x has 4 axes and the block size is 0; expect"),
    ("depth_block_most", pool("DepthToSpace", blocksize=MOST), "depth_to_space: x has 4 axes and the block size is 922337203"),
    ("space_block_0", pool("SpaceToDepth", blocksize=0), "space_to_depth: x has 4 axes and the block size is 0; expect"),
    ("space_block_3", pool("SpaceToDepth", blocksize=3), "space_to_depth: height or width is no multiple of 3"),
    ("reshape_two_open", sized("Reshape", [-1, -1]), "-1 stands at axes 0 and 1"),
    ("reshape_zero_open", one("Reshape", "x s", ints("s", [0, -1]), (("x", [0, 3]),)), "-1 beside an axis of size 0 stands for any size"),
    ("reshape_overflow", sized("Reshape", [1 << 32, 1 << 32]), "reshape 'n' (f32[2,3]): operand 0 is f32[2,3]: its 6 element"),
    ("reshape_least", sized("Reshape", [LEAST]), "its shape has size"),
    ("expand_overflow", sized("Expand", [MOST, 2, 3]), "has sizes whose product is beyond 2^59"),
    ("expand_negative", sized("Expand", [-1, 3]), "its shape has size -1 at axis 0"),
    ("tile_overflow", sized("Tile", [MOST, MOST]), "has sizes whose product is beyond 2^59"),
    ("tile_negative", sized("Tile", [-1, 1]), "axis 0 repeated -1 times"),
    ("constant_of_shape_overflow", sized("ConstantOfShape", [1 << 40, 1 << 40], "s"), "has sizes whose product is beyond 2^59"),
    ("constant_of_shape_huge", sized("ConstantOfShape", [1 << 55], "s"), "out of memory: prepared weights take"),
    ("constant_of_shape_negative", sized("ConstantOfShape", [-1], "s"), "its shape has size -1 at axis 0"),
    ("range_0", model(ints("a", [0], []) + ints("s", [0], []) + node("Range", "a a s", "y")), "its delta is 0"),
    ("range_overflow", model(ints("a", [LEAST], []) + ints("b", [MOST], []) + ints("s", [1], []) +
                             node("Range", "a b s", "y"), kind=INT64), "has sizes whose product is beyond 2^59"),
    ("range_nan", model(floats("a", [NAN], []) + floats("s", [1.0], []) + node("Range", "a a s", "y")), "a range from nan to nan in steps of 1"),
    ("one_hot_negative", model(ints("i", [0]) + ints("d", [-4], []) + floats("v", [0, 1]) +
                               node("OneHot", "i d v", "y")), "its depth is -4"),
    ("one_hot_overflow", model(ints("i", [0, 1]) + ints("d", [MOST], []) + floats("v", [0, 1]) +
                               node("OneHot", "i d v", "y")), "has sizes whose product is beyond 2^59"),
    ("pad_overflow", sized("Pad", [MOST, 0, MOST, 0]), "axis 0 is padded by 9223372036854775807 elements; expected at most"),
    ("pad_least", sized("Pad", [LEAST, 0, 0, 0]), "axis 0 is padded by -9223372036854775808 elements; expected at most"),
    ("pad_cancels", model(WEIGHT + ints("s", [2 - MOST, 0, MOST - 1, 0]) + node("Pad", "w s", "y")), "axis 0 is padded by -9223372036854775805 elements; expected at most"),
    ("pad_negative", sized("Pad", [-PETA, 0, 0, 0]), "axis 0 of the padded shape has the negative size"),
    ("pad_reflect", sized("Pad", [7, 7, 7, 7], mode="reflect"), None),
    ("pad_empty_reflect", one("Pad", "x s", ints("s", [1, 0, 1, 0]), (("x", [0, 3]),), mode="reflect"), None),
    ("resize_nan", model(floats("s", [NAN, 1.0]) + node("Resize", "x r s", "y") +
                         field(5, tensor("r", [0], FLOAT, b""))), "a scale is nan"),
    ("resize_huge", model(floats("s", [1e30, 1e30]) + field(5, tensor("r", [0], FLOAT, b"")) +
                          node("Resize", "x r s", "y")), "a scale is 1e+30"),
    ("resize_0", model(floats("s", [0.0, 0.0]) + field(5, tensor("r", [0], FLOAT, b"")) +
                       node("Resize", "x r s", "y")), "a scale is 0"),
    ("resize_sizes", model(ints("z", [MOST, MOST]) + field(5, tensor("r", [0], FLOAT, b"")) +
                           node("Resize", "x r r z", "y")), "resize: axis 1 to size"),
    ("resize_aspect", model(ints("z", [1, LEAST]) + field(5, tensor("r", [0], FLOAT, b"")) +
                            node("Resize", "x r r z", "y", keep_aspect_ratio_policy="not_larger")), "axis 1 resized to -9223372036854775808 elements"),
    ("resize_roi_nan", crop([0.0, NAN, 1.0, 1.0]), "its roi holds nan"),
    ("resize_roi_far", crop([0.0, -1e30, 1.0, 1e30]), None),
    ("slice_step_0", model(ints("a", [0]) + ints("b", [1]) + ints("c", [0]) + ints("d", [0]) +
                           node("Slice", "x a b c d", "y")), "a step of 0"),
    ("slice_least", model(ints("a", [LEAST]) + ints("b", [MOST]) + ints("c", [0]) + ints("d", [LEAST]) +
                          node("Slice", "x a b c d", "y")), "a step of"),
    ("slice_axis", model(ints("a", [0]) + ints("b", [1]) + ints("c", [LEAST]) + node("Slice", "x a b c", "y")), "axis"),
    ("split_sum", model(ints("s", [1, MOST]) + node("Split", "x s", "y z", axis=0)), "the sizes of its parts do not add up to the axis's size"),
    ("split_0", model(node("Split", "x", "y", num_outputs=0, axis=0)), "num_outputs is 0; it has 1"),
    ("transpose_twice", one("Transpose", perm=[0, 0]), "permute 'n' (f32[2,3]): perm names axis 0 twice"),
    ("transpose_beyond", one("Transpose", perm=[0, MOST]), "axis"),
    ("unsqueeze_most", sized("Unsqueeze", [MOST]), "axis"),
    ("unsqueeze_many", sized("Unsqueeze", list(range(70))), "the result has more than 12 axes"),
    ("squeeze_least", sized("Squeeze", [LEAST]), "axis"),
    ("concat_axis", one("Concat", "x x", axis=LEAST), "axis"),
    ("concat_many", model(node("Concat", "x " * 200, "y", axis=0)), None),
    ("softmax_axis", one("Softmax", axis=MOST), "axis"),
    ("reduce_axis", sized("ReduceSum", [LEAST]), "axis"),
    ("top_k_negative", sized("TopK", [-1]), "top_k 'n' (f32[2,3]): operand 0 is f32[2,3]: k = -1; axis 1"),
    ("top_k_most", sized("TopK", [MOST]), "top_k 'n' (f32[2,3]): operand 0 is f32[2,3]: k = 92233720368"),
    ("trilu_most", one("Trilu", "x k", ints("k", [MOST], [])), None),
    ("trilu_least", one("Trilu", "x k", ints("k", [LEAST], [])), None),
    ("cumsum_axis", one("CumSum", "x k", ints("k", [MOST], [])), "axis"),
    ("gather_constant", one("Gather", "x i", ints("i", [7])), "an index is out of range, in kernel gather"),
    ("gather_least", one("Gather", "x i", ints("i", [LEAST])), "an index is out of range, in kernel gather"),
    ("gather_ends", one("Gather", "x i", ints("i", [LEAST, MOST])), "an index is out of range, in kernel gather"),
    ("gather_axis", one("Gather", "x i", ints("i", [0]), axis=LEAST), "axis"),
    ("gather_nd_deep", one("GatherND", "x i", ints("i", [0, 0, 0], [1, 3])), "its indices have 3 positions each; the data have 2 axes, 0 o"),
    ("gather_nd_batch", one("GatherND", "x i", ints("i", [0], [1, 1]), batch_dims=MOST), "its indices have 1 positions each; the data have 2 axes, 922"),
    ("scatter_nd_shape", one("ScatterND", "x i w", ints("i", [0], [1, 1]) + floats("w", [1.0] * 9, [3, 3])), "scatter 'n' (f32[2,3], i64[1,1], f32[3,3]): operand 2 is f32"),
    ("einsum", one("Einsum", equation="ij->zz"), "einsum: 'z' of the result is in no operand"),
    ("einsum_long", one("Einsum", equation="i" * 4000 + "->"), "einsum: more than 12 axes"),
    ("window_huge", sized("HannWindow", [PETA], "s"), "a window of"),
    ("dft_0", model(ints("d", [0], []) + node("DFT", "x d", "y"), (("x", [1, 8, 1]),)), None),
    ("dft_huge", model(ints("d", [PETA], []) + node("DFT", "x d", "y"), (("x", [1, 8, 1]),)), "dft: length"),
    ("random_huge", model(node("RandomNormal", "", "y", shape=[1 << 40, 1 << 40])), "has sizes whose product is beyond 2^59"),
    ("random_negative", model(node("RandomNormal", "", "y", shape=[-1])), "its shape has size -1"),
    ("eye_like_most", one("EyeLike", k=MOST), None),
    ("group_norm_0", model(floats("a", [1.0] * 4) + node("GroupNormalization", "x a a", "y", num_groups=0), IMAGE), "num_groups is 0"),
    ("dequantize_block", model(field(5, tensor("q", [4], UINT8, b"\0" * 4)) + floats("a", [1.0] * 4) +
                               node("DequantizeLinear", "q a", "y", block_size=-1)), "its axis is 1 and its block_size -1"),
    ("integer_depth", model(node("RandomNormal", "", "r", shape=[1 << 19, 1 << 19]) + node("DynamicQuantizeLinear", "r", "a b c") +
                            node("MatMulInteger", "a a", "y"), kind=INT32), "out of memory: prepared weights take"),
    ("nbits_block_0", model(field(5, tensor("q", [2, 1, 1], UINT8, b"\0" * 2)) + floats("a", [1.0] * 2) +
                            node("MatMulNBits", "x q a", "y", "com.microsoft", K=3, N=2, bits=4, block_size=0)), "block_size is 0; expected a power of two from 16 on"),
    ("nbits_huge", model(field(5, tensor("q", [2, 1, 1], UINT8, b"\0" * 2)) + floats("a", [1.0] * 2) +
                         node("MatMulNBits", "x q a", "y", "com.microsoft", K=MOST, N=MOST, bits=4, block_size=32)), "K is"),
    ("rnn_hidden", model(floats("a", [1.0] * 6, [1, 2, 3]) + floats("b", [1.0] * 4, [1, 2, 2]) +
                         node("LSTM", "x a b", "y", hidden_size=MOST), (("x", [1, 2, 3]),)), "hidden_size is"),
    ("attention_heads_0", model(node("Attention", "x x x", "y", q_num_heads=0, kv_num_heads=0), (("x", [1, 2, 4]),),
                                opset=23), "the last axis of its input does not split into 0 heads; the"),
    ("rotary_odd", model(node("RotaryEmbedding", "x c c", "y", num_heads=0) + floats("c", [1.0] * 4, [2, 2]),
                         (("x", [1, 2, 4]),), opset=23), "its input does not split into 0 heads (attribute num_heads)"),
    ("col2im_0", model(ints("i", [4, 4]) + ints("b", [0, 0]) + node("Col2Im", "x i b", "y"), (("x", [1, 4, 9]),)), "col2im: a block of 0 does not fit the image's axis 0"),
    ("unpool_huge", model(field(5, tensor("i", [1, 1, 1, 1], INT64, struct.pack("<q", PETA))) +
                          node("MaxUnpool", "x i", "y", kernel_shape=[2, 2]), (("x", [1, 1, 1, 1]),)), "an index is out of range, in kernel scatter"),
    ("center_crop", sized("CenterCropPad", [MOST, MOST]), "axis 0 is padded by 4611686018427387902 elements; expected at most"),
    ("old_axis", one("Add", "x w", floats("w", [1.0] * 3), opset=6, broadcast=1, axis=MOST), "1 axes from axis 9223372036854775807 on do not fit into 2 axes"),
    ("size_of_many", model(ints("s", range(2048)) + b"".join(node("Add", "s s", f"a{i}") for i in range(2500)) +
                           node("Size", "x", "y"), kind=INT64), "too many computed sizes"),
    ("bernoulli_dtype", one("Bernoulli", dtype=99), "attribute 'dtype': 99 is not an element type of ONNX"),
    ("cast_dtype", one("Cast", to=-1), "attribute 'to': -1 is not an element type of ONNX"),
    ("multinomial_huge", model(node("Multinomial", "x", "y", sample_size=PETA), kind=INT32), "out of memory: activations take"),
    ("multinomial_negative", model(node("Multinomial", "x", "y", sample_size=-1), kind=INT32), "there are -1 samples"),
    # Sizes of zero and scalars run.
    ("zero_matmul", model(floats("w", [], [0, 3]) + node("MatMul", "x w", "y"), (("x", [2, 0]),)), None),
    ("zero_rows", model(WEIGHT + node("Gemm", "x w", "y", transB=1), (("x", [0, 3]),)), None),
    ("zero_conv", one("Conv", "x w", KERNEL, (("x", [0, 4, 8, 8]),)), None),
    ("zero_depthwise", one("Conv", "x w", floats("w", [1.0] * 72, [8, 1, 3, 3]), (("x", [1, 8, 8, 0]),), group=8, pads=[2] * 4), None),
    ("zero_pool", one("MaxPool", "x", b"", (("x", [0, 4, 8, 8]),), kernel_shape=[2, 2]), None),
    ("zero_softmax", one("Softmax", ins=(("x", [2, 0]),)), None),
    ("zero_reduce", one("ReduceSum", ins=(("x", [0, 3]),)), None),
    ("zero_max", one("ReduceMax", ins=(("x", [0, 3]),)), None),
    ("zero_arg_max", one("ArgMax", ins=(("x", [0, 3]),), axis=0), "reduce 'n' (f32[0,3]): operand 0 is f32[0,3]: axis 0 has no"),
    ("zero_top_k", one("TopK", "x s", ints("s", [0])), None),
    ("zero_gather", one("Gather", "x i", ints("i", [0]), (("x", [0, 3]),)), "an index is out of range, in kernel gather"),
    ("zero_concat", one("Concat", "x x", ins=(("x", [0, 3]),), axis=0), None),
    ("zero_norm", one("LayerNormalization", "x w", floats("w", [], [0]), (("x", [2, 0]),)), None),
    ("scalar", one("Relu", ins=(("x", []),)), None),
    ("scalar_softmax", one("Softmax", ins=(("x", []),)), "axis -1 is out of range for rank 0"),
    ("scalar_matmul", one("MatMul", "x x", ins=(("x", []),)), "matmul: a scalar operand; at least one axis is needed"),
    ("scalar_concat", one("Concat", "x x", ins=(("x", []),), axis=0), "axis 0 is out of range for rank 0"),
    ("scalar_transpose", one("Transpose", ins=(("x", []),)), None),
    ("scalar_gather", one("Gather", "x i", ints("i", [0], []), (("x", []),)), "axis 0 is out of range for rank 0"),
    ("integer_division", model(field(5, tensor("a", [3], INT32, struct.pack("<3i", 1, -(1 << 31), 0))) +
                               field(5, tensor("b", [3], INT32, struct.pack("<3i", 0, -1, 0))) +
                               node("Div", "a b", "d") + node("Mod", "a b", "m") + node("Add", "d m", "y"), kind=INT32), None),
    ("shift_64", model(field(5, tensor("a", [1], 13, struct.pack("<Q", 1))) +
                       field(5, tensor("b", [1], 13, struct.pack("<Q", 64))) +
                       node("BitShift", "a b", "y", direction="LEFT"), kind=13), None),
]

# Indices that are known when the model runs: (name, model, the inputs of .npy, words).
I = lambda *v: npy(f"({len(v)},)", "<i8", struct.pack(f"<{len(v)}q", *v))  # noqa: E731
X = npy("(2, 3)", "<f4", struct.pack("<6f", *range(6)))
INDEX = (("x", [2, 3]), ("i", ["N"], INT64))
RUNS = [
    ("gather", model(node("Gather", "x i", "y"), INDEX), [X, I(0, 2)], "an index is out of range"),
    ("gather_far", model(node("Gather", "x i", "y"), INDEX), [X, I(LEAST, MOST)], "an index is out of range"),
    ("gather_fits", model(node("Gather", "x i", "y"), INDEX), [X, I(-2, 1)], None),
    ("gather_elements", model(node("Unsqueeze", "i q", "j") + ints("q", [1]) + node("GatherElements", "x j", "y"), INDEX),
     [X, I(0, 9)], "an index is out of range"),
    ("gather_nd", model(node("Unsqueeze", "i q", "j") + ints("q", [1]) + node("GatherND", "x j", "y"), INDEX),
     [X, I(-3)], "an index is out of range"),
    ("scatter_nd", model(node("Unsqueeze", "i q", "j") + ints("q", [1]) + floats("u", [1.0] * 3, [1, 3]) +
                         node("ScatterND", "x j u", "y"), INDEX), [X, I(5)], "an index is out of range"),
    ("scatter_elements", model(node("Unsqueeze", "i q", "j") + ints("q", [1]) + floats("u", [1.0], [1, 1]) +
                               node("ScatterElements", "x j u", "y"), INDEX), [X, I(LEAST)], "an index is out of range"),
    ("concat_many", model(node("Concat", "x " * 1000, "y", axis=0)), [X], None),
    ("concat_read", model(node("Concat", "x " * 600, "c", axis=0) + node("Transpose", "c", "t") + node("Relu", "t", "y")), [X], None),
    ("integer_division", model(node("Div", "a b", "d") + node("Mod", "a b", "m") + node("Add", "d m", "y"),
                               (("a", ["N"], INT32), ("b", ["N"], INT32)), kind=INT32),
     [npy("(4,)", "<i4", struct.pack("<4i", 1, -(1 << 31), 0, 7)), npy("(4,)", "<i4", struct.pack("<4i", 0, -1, 0, -7))], None),
    ("nan_index", model(node("Cast", "x", "i", to=INT64) + node("Gather", "t i", "y") + floats("t", [1.0, 2.0])),
     [npy("(2, 3)", "<f4", struct.pack("<6f", NAN, 1, 0, float("inf"), float("-inf"), 1e30))], "an index is out of range"),
]


def zipped(*entries, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in entries:
            z.writestr(name, data)
    return out.getvalue()


def overlapping(copies):
    """An archive whose list names the same bytes again and again."""
    whole = zipped(("a.npy", npy("(4000000,)", "<f4", b"\0" * 16000000)))
    end = whole.rindex(b"PK\5\6")
    start = struct.unpack("<I", whole[end + 16 : end + 20])[0]
    listed = whole[start:end] * copies
    tail = struct.pack("<HHIIH", copies, copies, len(listed), start, 0)
    return whole[:start] + listed + whole[end : end + 8] + tail


# Inputs of a model that reads x f32[2,3].
ARRAYS = [
    ("empty.npy", b"", "not an .npy file"),
    ("head_beyond.npy", b"\x93NUMPY\x02\0" + struct.pack("<I", 0xFFFFFFFF) + b" " * 20, "the .npy header is damaged"),
    ("overflow.npy", npy("(4294967296, 4294967296)"), "overflows"),
    ("overflow_zero.npy", npy(f"(0, {MOST}, {MOST})"), "the .npy header is damaged: {'descr': '<f4', 'fortran_order'"),
    ("petabyte.npy", npy(f"({PETA},)"), "cut off"),
    ("negative.npy", npy("(-1, -6)"), "the .npy header is damaged: {'descr': '<f4', 'fortran_order'"),
    ("rank.npy", npy("(" + "1, " * 200 + ")"), "the .npy header is damaged: {'descr': '<f4', 'fortran_order'"),
    ("objects.npy", npy("(1,)", "|O8", b"\x80\x04."), "elements of type"),
    ("unclosed.npy", npy(None, header="{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3"), "damaged"),
    ("empty.npz", b"", "not an .npz archive"),
    ("cut.npz", zipped(("x.npy", X))[:-30], "not an .npz archive"),
    ("list_beyond.npz", b"PK\5\6" + b"\0" * 4 + struct.pack("<HHIIH", 9, 9, 400, 0xFFFFFFF0, 0), "the archive's list of files is damaged"),
    ("bomb.npz", zipped(("x.npy", b"\0" * 60000000)), "'x': not an .npy file"),
    ("bomb_header.npz", zipped(("x.npy", npy("(2, 3)", "<f4", b"\0" * 60000000))), "'x': 60000000 bytes of data, its shape needs 24"),
    ("overlapping.npz", overlapping(2000), "files of the archive share their bytes"),
    ("method.npz", zipped(("x.npy", X), method=zipfile.ZIP_BZIP2), "method 12"),
    ("damaged.npz", zipped(("x.npy", X)).replace(b"PK\1\2", b"PK\1\3"), "the archive's list of files is damaged"),
    ("cut.pb", tensor("x", [2, 3], FLOAT, b"\0" * 24)[:-9], "damaged"),
    ("overflow.pb", tensor("x", [1 << 32, 1 << 32], FLOAT, b""), "overflows"),
    ("external.pb", tensor("x", [2, 3], FLOAT, None, field(13, field(1, "location") + field(2, "w")) + number(14, 1)),
     "cannot be read from here"),
]


def safetensors(head, data=b"", length=None):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin, end, shape=(2, 3), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


D = b"\0" * 24
SAFETENSORS = [
    ("empty", b"", "too few"),
    ("length_beyond", safetensors({}, length=1 << 62), "does not fit"),
    ("length_wraps", safetensors({}, length=2**64 - 8), "does not fit"),
    ("no_object", safetensors(b"[]"), "not a JSON object"),
    ("deep", safetensors(b"[" * 100000), "not a JSON object"),
    ("not_utf8", safetensors(b'{"\xff":1}'), "not a JSON object"),
    ("trailing", safetensors(b'{} x'), "not a JSON object"),
    ("many_values", safetensors(b'{"w":[' + b"{}," * 300000 + b"1]}"), "more memory than twice"),
    ("twice", safetensors(b'{"w":1,"w":1}'), "not a JSON object"),
    ("hole", safetensors({"a": entry(0, 24), "b": entry(32, 56)}, b"\0" * 56), "belong to no tensor"),
    ("hole_first", safetensors({"a": entry(8, 32)}, b"\0" * 32), "belong to no tensor"),
    ("hole_last", safetensors({"a": entry(0, 24)}, b"\0" * 32), "belong to no tensor"),
    ("overlap", safetensors({"a": entry(0, 24), "b": entry(8, 32)}, b"\0" * 32), "shares bytes"),
    ("same_bytes", safetensors({"a": entry(0, 24), "b": entry(0, 24)}, D), "shares bytes"),
    ("beyond", safetensors({"a": entry(0, 48)}, D), "holds 24 bytes"),
    ("reversed", safetensors({"a": entry(24, 0)}, D), "has its data at"),
    ("negative", safetensors({"a": entry(-24, 0)}, D), "has its data at"),
    ("offset_real", safetensors(b'{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0.0,24.0]}}', D), "data_offsets"),
    ("offset_huge", safetensors(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,1' + b"0" * 30 + b"]}}", D), "the header is not a JSON object: too big integer"),
    ("elements_overflow", safetensors({"a": entry(0, 24, [1 << 32, 1 << 32])}, D), "more elements"),
    ("elements_wrap", safetensors({"a": entry(0, 24, [1 << 62, 4, 6])}, D), "more elements"),
    ("size_negative", safetensors({"a": entry(0, 24, [-2, -3])}, D), "not of sizes"),
    ("rank", safetensors({"a": entry(0, 24, [1] * 70 + [6])}, D), "axes"),
    ("other_size", safetensors({"a": entry(0, 24, [2, 4])}, D), "need another number"),
    ("dtype", safetensors({"a": entry(0, 24, dtype="OBJ")}, D), "is of type 'OBJ'"),
    ("metadata", safetensors({"__metadata__": {"a": 1}}), "is not a text"),
]

# Settings of tenon train.
SETTINGS = [
    ("empty", b"", "'[' or '{' expected near end of file"),
    ("deep", b"[" * 1000000, "more memory than twice"),
    ("deep_objects", b'{"a":' * 1000000, "more memory than twice"),
    ("many", b"[" + b"{}," * 400000 + b"1]", "more memory than twice"),
    ("twice", b'{"train":{},"train":{}}', "duplicate"),
    ("not_utf8", b'{"tr\xffain":{}}', "unable to decode byte 0xff near '\"tr'"),
    ("zero", b'{"train":{"steps":"a\\u0000b"}}', "\\u0000 is not allowed without JSON_ALLOW_NUL near '\"a\\u0000b"),
    ("number", b'{"train":{"steps":1' + b"0" * 400 + b"}}", "too big integer"),
    ("real", b'{"train":{"steps":1e999}}', "real number overflow near '1e999'"),
    ("negative", b'{"model":{"config":"mlp"},"data":{"path":"samples"},"train":{"steps":-9223372036854775808}}', "train.steps = -9223372036854775808; expected"),
    ("batch_negative", b'{"model":{"config":"mlp"},"data":{"path":"samples","batch":-1},"train":{"steps":1}}', "data.batch = -1; expected"),
    ("no_model", b'{"train":{"steps":1}}', "no model; expected \"model\": {\"config\": \"resnet18\"}"),
]
