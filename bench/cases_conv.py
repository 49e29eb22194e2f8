"""The distinct convolutions of ResNet-50 v1.5 and MobileNet-V2 on 224×224, with bias."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from kernel_cases import Arrays, Case, Model, generator, normal


class Conv(NamedTuple):
    """Square kernel, stride, size of the input's side; padding keeps size / stride."""

    channels: int
    filters: int
    kernel: int
    stride: int
    size: int
    groups: int = 1

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def result(self) -> int:
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def name(self) -> str:
        kind = f"{self.kernel}x{self.kernel}" + (f"s{self.stride}" if self.stride > 1 else "")
        depthwise = "dw" if self.groups > 1 else ""
        return f"{kind}{depthwise}-{self.channels}-{self.filters}@{self.size}"


# blocks: width, how many, stride of the first; the last convolution has four times the width
RESNET50 = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]
# blocks: expansion, channels, how many, stride of the first
MOBILENET_V2 = [
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
]  # fmt: skip


def resnet50() -> list[Conv]:
    """In v1.5 a block's stride is at its 3×3 convolution."""
    convs, channels, size = [Conv(3, 64, 7, 2, 224)], 64, 56
    for width, count, first_stride in RESNET50:
        for i in range(count):
            stride = first_stride if i == 0 else 1
            convs.append(Conv(channels, width, 1, 1, size))
            convs.append(Conv(width, width, 3, stride, size))
            convs.append(Conv(width, 4 * width, 1, 1, size // stride))
            if i == 0:
                convs.append(Conv(channels, 4 * width, 1, stride, size))
            channels, size = 4 * width, size // stride
    return list(dict.fromkeys(convs))


def mobilenet_v2() -> list[Conv]:
    convs, channels, size = [Conv(3, 32, 3, 2, 224)], 32, 112
    for expansion, filters, count, first_stride in MOBILENET_V2:
        for i in range(count):
            stride, hidden = first_stride if i == 0 else 1, channels * expansion
            if expansion > 1:
                convs.append(Conv(channels, hidden, 1, 1, size))
            convs.append(Conv(hidden, hidden, 3, stride, size, hidden))
            convs.append(Conv(hidden, filters, 1, 1, size // stride))
            channels, size = filters, size // stride
    convs.append(Conv(channels, 1280, 1, 1, size))
    return list(dict.fromkeys(convs))


def operands(conv: Conv, batch: int, last: bool) -> Arrays:
    """last: the input lies in memory as NHWC."""
    rng = generator("conv", conv, batch)
    side = conv.kernel
    x = normal(rng, batch, conv.channels, conv.size, conv.size)
    return Arrays(
        {"x": np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if last else x},
        {"w": normal(rng, conv.filters, conv.channels // conv.groups, side, side),
         "b": normal(rng, conv.filters)},
    )  # fmt: skip


def model(conv: Conv, last: bool, arrays: Arrays):
    m = Model(arrays)
    for name, value in arrays.weights.items():
        m.weight(name, value)
    x = m.node("Transpose", "x", perm=[0, 3, 1, 2]) if last else "x"
    y = m.node("Conv", x, "w", "b", out=None if last else "y0", kernel_shape=[conv.kernel] * 2,
               group=conv.groups, strides=[conv.stride] * 2, pads=[conv.padding] * 4)  # fmt: skip
    if last:
        m.node("Transpose", y, out="y0", perm=[0, 2, 3, 1])
    return m.done()


def convolve(conv: Conv, x, w, b):
    import torch

    return torch.nn.functional.conv2d(x, w, b, conv.stride, conv.padding, 1, conv.groups)


def convolve_nhwc(conv: Conv, x, w, b):
    return convolve(conv, x.permute(0, 3, 1, 2), w, b).permute(0, 2, 3, 1)


def channels_first(conv: Conv, x, w, b):
    return lambda: convolve(conv, x, w, b)


def channels_last(conv: Conv, x, w, b):
    """Input, weights and result are NHWC in memory."""
    import torch

    x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
    return lambda: convolve(conv, x, w, b)


def packed(conv: Conv, last: bool, x, w, b):
    """What torch.compile with frozen weights calls: oneDNN, packed weights."""
    import torch

    stride, padding, dilation = ([n, n] for n in (conv.stride, conv.padding, 1))
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    ready = torch.ops.mkldnn._reorder_convolution_weight(
        w, padding, stride, dilation, conv.groups, list(x.shape)
    )
    return lambda: torch.ops.mkldnn._convolution_pointwise(
        x, ready, b, padding, stride, dilation, conv.groups, "none", [], ""
    )


def conv_case(network: str, conv: Conv, batch: int) -> Case:
    macs = conv.filters * conv.channels // conv.groups * conv.kernel**2 * conv.result**2
    elements = conv.channels * conv.size**2 + conv.filters * conv.result**2
    weights = conv.filters * (conv.channels // conv.groups * conv.kernel**2 + 1)
    name = f"{network}-b{batch}-{conv.name}"
    nhwc = Case(
        "conv", f"{name}:nhwc", arrays=functools.partial(operands, conv, batch, True),
        model=functools.partial(model, conv, True),
        function=functools.partial(convolve_nhwc, conv), engines=(),
    )  # fmt: skip
    return Case(
        "conv", name, arrays=functools.partial(operands, conv, batch, False),
        model=functools.partial(model, conv, False), function=functools.partial(convolve, conv),
        engines=("torch", "torch_nhwc", "ort"),
        prepared={
            "torch": {"unpacked": functools.partial(channels_first, conv),
                      "packed": functools.partial(packed, conv, False)},
            "torch_nhwc": {"unpacked": functools.partial(channels_last, conv),
                           "packed": functools.partial(packed, conv, True)},
        },
        flops=2.0 * batch * macs, bytes=4.0 * (batch * elements + weights),
        companions={"nhwc": nhwc},
        facts={"network": network, "batch": batch, "conv": conv._asdict()},
    )  # fmt: skip


def cases() -> list[Case]:
    return [conv_case(network, conv, batch)
            for network, convs in (("resnet50", resnet50()), ("mobilenetv2", mobilenet_v2()))
            for batch in (1, 8) for conv in convs]  # fmt: skip
