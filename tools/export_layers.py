#!/usr/bin/env python3
"""Exports language models of few layers, without their weights, for tests of `tenon parse`.

    tools/export_layers.py --out DIR [--models a,b] [--exporter legacy|dynamo|both]

Widths are a sixteenth of the real ones, heads and layouts are real. Weights become external data of a file
that is not there, and every name is replaced by a number, so all that is left is structure and sizes. A row
of the summary says for each model whether its export worked.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import traceback
import warnings
from pathlib import Path

import onnx
import torch
import transformers
from torch import nn
from torch.nn import functional as F

SHARED = dict(vocab_size=512, num_hidden_layers=2, max_position_embeddings=128)
HEADS = dict(num_attention_heads=32, num_key_value_heads=8)
CONFIGS = {
    "opt": lambda: transformers.OPTConfig(
        **SHARED, hidden_size=48, ffn_dim=192, num_attention_heads=12, word_embed_proj_dim=48
    ),
    "llama": lambda: transformers.LlamaConfig(
        **SHARED, **HEADS, hidden_size=256, intermediate_size=896
    ),
    "mistral": lambda: transformers.MistralConfig(
        **SHARED, **HEADS, hidden_size=256, intermediate_size=896, sliding_window=16
    ),
    "qwen2": lambda: transformers.Qwen2Config(
        **SHARED, hidden_size=224, intermediate_size=1184, num_attention_heads=28,
        num_key_value_heads=4,
    ),
    "mixtral": lambda: transformers.MixtralConfig(
        **SHARED, **HEADS, hidden_size=256, intermediate_size=896, num_local_experts=8,
        num_experts_per_tok=2,
    ),
    "qwen2_moe": lambda: transformers.Qwen2MoeConfig(
        **SHARED, hidden_size=128, intermediate_size=352, moe_intermediate_size=88,
        shared_expert_intermediate_size=352, num_attention_heads=16, num_key_value_heads=16,
        num_experts=12, num_experts_per_tok=4,
    ),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=512, n_layer=2, n_embd=48, n_head=12),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(
        **SHARED, hidden_size=64, intermediate_size=256, num_attention_heads=8
    ),
    "falcon": lambda: transformers.FalconConfig(
        vocab_size=512, num_hidden_layers=2, hidden_size=284, num_attention_heads=71
    ),
    "phi3": lambda: transformers.Phi3Config(
        **SHARED, **HEADS, hidden_size=192, intermediate_size=512, pad_token_id=0
    ),
    "gemma": lambda: transformers.GemmaConfig(
        **SHARED, hidden_size=128, intermediate_size=1024, num_attention_heads=8,
        num_key_value_heads=1, head_dim=16,
    ),
    "deepseek_v2": lambda: transformers.DeepseekV2Config(
        **SHARED, hidden_size=128, intermediate_size=684, moe_intermediate_size=88,
        num_attention_heads=16, num_key_value_heads=16, q_lora_rank=None, kv_lora_rank=32,
        qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, n_routed_experts=8,
        num_experts_per_tok=2, n_shared_experts=2, first_k_dense_replace=1,
    ),
}  # fmt: skip


class PalmLayer(nn.Module):
    """Attention with one key head and a gated feed-forward part read the same normed input."""

    def __init__(self, dim: int, heads: int, ffn: int, fused: bool):
        super().__init__()
        self.heads, self.head, self.ffn, self.fused = heads, dim // heads, ffn, fused
        self.norm = nn.LayerNorm(dim)
        widths = [dim, self.head, self.head, ffn, ffn]
        self.widths = widths
        joined = [sum(widths)] if fused else widths
        self.read = nn.ModuleList(nn.Linear(dim, w, bias=False) for w in joined)
        self.out = nn.Linear(dim, dim, bias=False)
        self.down = nn.Linear(ffn, dim, bias=False)

    def forward(self, x, mask):
        y = self.norm(x)
        if self.fused:
            q, k, v, up, gate = self.read[0](y).split(self.widths, dim=-1)
        else:
            q, k, v, up, gate = (part(y) for part in self.read)
        q = q.view(*q.shape[:2], self.heads, self.head).transpose(1, 2) * self.head**-0.5
        scores = torch.einsum("bhid,bjd->bhij", q, k) + mask
        values = torch.einsum("bhij,bjd->bhid", scores.softmax(-1), v)
        joined = values.transpose(1, 2).reshape(x.shape)
        return x + self.out(joined) + self.down(F.silu(gate) * up)


class Palm(nn.Module):
    def __init__(self, fused: bool = False, layers: int = 2):
        super().__init__()
        self.table = nn.Embedding(512, 256)
        self.layers = nn.ModuleList(PalmLayer(256, 16, 1024, fused) for _ in range(layers))
        self.norm = nn.LayerNorm(256)

    def forward(self, ids):
        n = ids.shape[1]
        mask = torch.full((n, n), -1e9).triu(1)
        x = self.table(ids)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x) @ self.table.weight.T


class Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        seen = torch.ones_like(ids)  # without it masks look for documents that are packed together
        return self.model(input_ids=ids, attention_mask=seen, use_cache=False).logits


def make(name: str, experts: str) -> nn.Module:
    if name.startswith("palm"):
        return Palm(fused=name == "palm_fused")
    config = CONFIGS[name]()
    config._experts_implementation = experts
    return Logits(transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager"))


def without_weights(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        floats = tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        if not floats or len(tensor.dims) < 2:
            continue
        for field in ("raw_data", "float_data", "int32_data"):
            tensor.ClearField(field)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value="weights")


class Renamed(dict):
    """Names to short numbers; the empty name stays."""

    def __missing__(self, name: str) -> str:
        self[name] = name and f"{len(self)}"
        return self[name]


def shuffle_names(graph: onnx.GraphProto, names: Renamed) -> None:
    graph.name = "g"
    del graph.value_info[:]
    for value in [*graph.input, *graph.output, *graph.initializer]:
        value.name = names[value.name]
        value.doc_string = ""
        del value.metadata_props[:]
    for node in graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        for names_of in (node.input, node.output):
            names_of[:] = [names[n] for n in names_of]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                shuffle_names(attribute.g, names)


def export(name: str, exporter: str, path: Path) -> None:
    torch.manual_seed(0)
    # A loop over experts is unrolled by tracing; torch.export needs all of them in one product.
    module = make(name, "eager" if exporter == "legacy" else "batched_mm").eval()
    ids = torch.randint(0, 512, (2, 24))
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        if exporter == "legacy":
            axes = {"ids": {0: "batch", 1: "sequence"}}
            torch.onnx.export(
                module, (ids,), str(path), dynamo=False, input_names=["ids"],
                output_names=["logits"], dynamic_axes=axes,
            )  # fmt: skip
        else:
            dims = {"ids": {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}}
            torch.onnx.export(
                module, (ids,), str(path), dynamo=True, dynamic_shapes=dims, external_data=False,
                verbose=False,
            )  # fmt: skip
    model = onnx.load(path)
    without_weights(model)
    shuffle_names(model.graph, Renamed())
    del model.metadata_props[:]
    model.doc_string = ""
    path.write_bytes(model.SerializeToString())


def main() -> int:
    known = ["palm", "palm_fused", *CONFIGS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default=",".join(known))
    parser.add_argument("--exporter", choices=("legacy", "dynamo", "both"), default="both")
    options = parser.parse_args()
    exporters = ["legacy", "dynamo"] if options.exporter == "both" else [options.exporter]
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in options.models.split(","):
        for exporter in exporters:
            path = options.out / f"{name}-{exporter}.onnx"
            try:
                export(name, exporter, path)
                print(f"{path.name:24} {path.stat().st_size} bytes", flush=True)
            except Exception:  # noqa: BLE001: the others are still exported
                path.unlink(missing_ok=True)
                failed += 1
                print(f"{path.name:24} {traceback.format_exc().strip().splitlines()[-1]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
