"""Writes small random LLaMA checkpoints with their float64 logits: golden vectors for C++ tests.

Each variant is a folder with config.json, the weights and expected.json:
    input_ids  token ids, BOS first
    logits     for every position, the logits of the first 8 vocabulary entries
    nll        for every position but the last, -ln p of the token that follows
The figures are computed from the weights as stored, that is, rounded to the variant's dtype.
"""
import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import safetensors_io
from llama_float64 import Llama

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "harness" / "model" / "testdata"
POSITIONS = 24
LOGITS_KEPT = 8
VOCAB = 64
LAYERS = 2
TORCH_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Variant:
    name: str
    dtype: str
    hidden: int = 32
    ffn: int = 48
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 8
    tied: bool = False
    bias: bool = False
    shards: int = 1
    extra_config: dict = field(default_factory=dict)


VARIANTS = [
    Variant("mha_untied_f32", "F32", hidden=24, ffn=32, heads=3, kv_heads=3),
    # 4 heads of 12 make 48, not the hidden size of 32: catches code that takes one for the other.
    Variant("gqa_tied_bf16", "BF16", kv_heads=2, head_dim=12, tied=True),
    Variant(
        "bias_linear_rope_f16",
        "F16",
        kv_heads=2,
        bias=True,
        extra_config={"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    ),
    # 16 pairs of a wide theta put fast, blended and slow pairs into an original context of 32.
    Variant(
        "llama3_rope_sharded_bf16",
        "BF16",
        ffn=40,
        heads=2,
        kv_heads=1,
        head_dim=32,
        shards=2,
        extra_config={
            "rms_norm_eps": 1e-6,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
    ),
    # The window is shorter than the 24 positions, which are shorter than the context.
    Variant(
        "mistral_window_f16",
        "F16",
        kv_heads=2,
        extra_config={
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "sliding_window": 7,
        },
    ),
    # 24 positions are more than twice the original context of 10.
    Variant(
        "dynamic_rope_f16",
        "F16",
        kv_heads=2,
        extra_config={
            "max_position_embeddings": 10,
            "rope_theta": 500.0,
            "rope_scaling": {"rope_type": "dynamic", "factor": 4.0},
        },
    ),
    # Its ramp begins and ends within the 16 pairs, and between two of them.
    Variant(
        "yarn_rope_bf16",
        "BF16",
        ffn=40,
        heads=2,
        kv_heads=1,
        head_dim=32,
        extra_config={
            "rope_theta": 1000.0,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 8.0,
                "original_max_position_embeddings": 32,
                "beta_fast": 4.0,
                "beta_slow": 0.3,
                "mscale": 1.5,
                "mscale_all_dim": 0.5,
                "truncate": False,
            },
        },
    ),
]


def config_json(variant: Variant) -> dict:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": variant.hidden,
        "intermediate_size": variant.ffn,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": variant.heads,
        "num_key_value_heads": variant.kv_heads,
        "head_dim": variant.head_dim,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": variant.bias,
        "mlp_bias": variant.bias,
        "tie_word_embeddings": variant.tied,
        "vocab_size": VOCAB,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": TORCH_DTYPES[variant.dtype],
    }
    return config | variant.extra_config


def linear_shapes(variant: Variant) -> dict[str, tuple[int, int]]:
    """(out, in) of each linear layer of a block."""
    hidden, ffn = variant.hidden, variant.ffn
    query, key_value = variant.heads * variant.head_dim, variant.kv_heads * variant.head_dim
    return {
        "self_attn.q_proj": (query, hidden),
        "self_attn.k_proj": (key_value, hidden),
        "self_attn.v_proj": (key_value, hidden),
        "self_attn.o_proj": (hidden, query),
        "mlp.gate_proj": (ffn, hidden),
        "mlp.up_proj": (ffn, hidden),
        "mlp.down_proj": (hidden, ffn),
    }


def random_tensors(variant: Variant, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights large enough that attention is far from uniform and the logits differ widely."""
    hidden = variant.hidden

    def matrix(rows: int, columns: int, gain: float) -> np.ndarray:
        return rng.normal(0, gain / np.sqrt(columns), (rows, columns))

    def norm_weight() -> np.ndarray:
        return rng.uniform(0.5, 1.5, hidden)

    tensors = {
        "model.embed_tokens.weight": matrix(VOCAB, hidden, 2.0),
        "model.norm.weight": norm_weight(),
    }
    if not variant.tied:
        tensors["lm_head.weight"] = matrix(VOCAB, hidden, 2.0)
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        tensors[f"{layer}.input_layernorm.weight"] = norm_weight()
        tensors[f"{layer}.post_attention_layernorm.weight"] = norm_weight()
        for name, (rows, columns) in linear_shapes(variant).items():
            tensors[f"{layer}.{name}.weight"] = matrix(rows, columns, 1.5)
            if variant.bias:
                tensors[f"{layer}.{name}.bias"] = rng.normal(0, 0.5, rows)
    return tensors


def write_weights(folder: Path, variant: Variant, tensors: dict[str, np.ndarray]) -> None:
    if variant.shards == 1:
        safetensors_io.write_file(folder / "model.safetensors", tensors, variant.dtype)
        return
    weight_map = {}
    total_size = 0
    names = sorted(tensors)
    for shard in range(variant.shards):
        file_name = f"model-{shard + 1:05d}-of-{variant.shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard :: variant.shards]}
        total_size += safetensors_io.write_file(folder / file_name, part, variant.dtype)
        weight_map |= {name: file_name for name in part}
    index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index)


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_expected(path: Path, ids: np.ndarray, model: Llama) -> None:
    """One position a line, so that a change can be read in a diff."""
    logits = [json.dumps(row) for row in model.logits(ids)[:, :LOGITS_KEPT].tolist()]
    text = '{\n"input_ids": ' + json.dumps(ids.tolist())
    text += ',\n"logits": [\n' + ",\n".join(logits) + "\n]"
    text += ',\n"nll": ' + json.dumps(model.nll(ids).tolist()) + "\n}\n"
    path.write_text(text)


def write_variant(out: Path, variant: Variant, seed: int) -> None:
    # Each variant draws from its own stream, so that one can be added without changing the others.
    rng = np.random.default_rng([seed, *variant.name.encode()])
    folder = out / variant.name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config_json(variant))
    write_weights(folder, variant, random_tensors(variant, rng))
    ids = np.concatenate([[1], rng.integers(3, VOCAB, POSITIONS - 1)])
    write_expected(folder / "expected.json", ids, Llama(folder))
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for variant in VARIANTS:
        write_variant(args.out, variant, args.seed)


if __name__ == "__main__":
    main()
