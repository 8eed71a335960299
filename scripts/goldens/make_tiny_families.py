"""Writes small random checkpoints of model families with the losses that transformers gives them.

Each variant is a folder like those of make_tiny_checkpoints.py: config.json as transformers saves it
(or as older versions did), model.safetensors, expected.json with input_ids, logits and nll. The
figures are transformers' in float64, attention by its definition ("eager"), from the weights as
stored. Needs torch, transformers and safetensors.
"""
import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from make_tiny_checkpoints import DEFAULT_OUT, LOGITS_KEPT, VOCAB, write_json

POSITIONS = 40
TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Variant:
    name: str
    model_type: str
    dtype: str
    config: dict
    # Changes to what transformers saves, to be what files on the hub have: a key without a value goes.
    saved: dict = field(default_factory=dict)
    positions: int = POSITIONS


# Two layers of 32 channels; 4 heads of 12 make 48, not 32.
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
HEADS = {"head_dim": 12}
LONG_ROPE = {"short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 2.0, 4.0, 9.0]}

VARIANTS = [
    Variant("qwen2_f16", "qwen2", "F16", SHAPE | {"tie_word_embeddings": True}),
    Variant(
        "qwen2_windows_bf16",
        "qwen2",
        "BF16",
        SHAPE | {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
        saved={"layer_types": None},
    ),
    Variant("qwen3_f16", "qwen3", "F16", SHAPE | HEADS | {"rope_theta": 1e6}),
    Variant(
        "gemma2_f16",
        "gemma2",
        "F16",
        SHAPE
        | HEADS
        | {
            "sliding_window": 9,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
        saved={"layer_types": None},
    ),
    # Windows in all layers but every third; as transformers 4 wrote it: an angle's base a key.
    Variant(
        "gemma3_bf16",
        "gemma3_text",
        "BF16",
        SHAPE
        | HEADS
        | {
            "hidden_size": 24,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "num_hidden_layers": 4,
            "sliding_window": 9,
            "query_pre_attn_scalar": 10,
            "sliding_window_pattern": 3,
            "rope_theta": 1e5,
            "rope_local_base_freq": 100.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
        saved={
            "layer_types": None,
            "rope_parameters": None,
            "sliding_window_pattern": 3,
            "rope_theta": 1e5,
            "rope_local_base_freq": 100.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    ),
    # Beyond its original context of 30; three quarters of a head are rotated.
    Variant(
        "phi3_long_f16",
        "phi3",
        "F16",
        SHAPE
        | {
            "num_attention_heads": 2,
            "original_max_position_embeddings": 30,
            "partial_rotary_factor": 0.75,
            "sliding_window": 25,
            "tie_word_embeddings": True,
            "rope_scaling": {
                "rope_type": "longrope",
                "short_factor": [1.0, 1.1, 1.3, 1.6, 1.9, 2.5],
                "long_factor": [1.0, 2.0, 4.0, 9.0, 12.0, 20.0],
            },
        },
    ),
    # Within it; grouped queries, and keys as the first Phi-3 had them.
    Variant(
        "phi3_short_f16",
        "phi3",
        "F16",
        SHAPE
        | {
            "original_max_position_embeddings": 64,
            "rope_scaling": {"rope_type": "longrope"} | LONG_ROPE,
        },
        saved={
            "rope_parameters": None,
            "original_max_position_embeddings": 64,
            "rope_theta": 10000.0,
            "rope_scaling": {"type": "su"} | LONG_ROPE,
        },
    ),
    Variant(
        "opt_f16",
        "opt",
        "F16",
        {k: v for k, v in SHAPE.items() if k not in ("intermediate_size", "num_key_value_heads")}
        | {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 48},
    ),
]


def random_weights(model: torch.nn.Module, dtype: torch.dtype, rng: np.random.Generator) -> None:
    """Large enough that logits differ widely; values are those of the stored type."""
    for name, parameter in sorted(model.named_parameters()):
        shape = tuple(parameter.shape)
        if len(shape) == 2:
            gain = 2.0 if "embed" in name or "lm_head" in name else 1.5
            values = rng.standard_normal(shape) * gain / np.sqrt(shape[1])
        elif name.endswith("bias"):
            values = 0.3 * rng.standard_normal(shape)
        else:
            values = rng.uniform(-0.4, 0.6, shape)  # of a norm: w or 1 + w
            if "gemma" not in type(model).__name__.lower():
                values += 1
        parameter.data = torch.tensor(values).to(dtype).to(torch.float64)


def stored_tensors(model: torch.nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    tied = model.config.tie_word_embeddings
    tensors = {}
    for name, parameter in model.named_parameters():
        if tied and name == "lm_head.weight":
            continue
        tensors[name] = parameter.detach().to(dtype)
    return tensors


def write_variant(out: Path, variant: Variant, seed: int) -> None:
    rng = np.random.default_rng([seed, *variant.name.encode()])
    folder = out / variant.name
    folder.mkdir(parents=True, exist_ok=True)
    config = AutoConfig.for_model(variant.model_type, **variant.config)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64, attn_implementation="eager")
    model = model.to(torch.float64).eval()
    dtype = TORCH_DTYPES[variant.dtype]
    random_weights(model, dtype, rng)
    ids = np.concatenate([[1], rng.integers(3, VOCAB, variant.positions - 1)])
    with torch.no_grad():
        logits = model(torch.tensor(ids)[None]).logits[0].double()
    nll = -torch.log_softmax(logits, -1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    saved = config.to_dict() | {"architectures": [type(model).__name__]} | variant.saved
    dropped = [key for key in saved if key in variant.saved and variant.saved[key] is None]
    # What says nothing of the numbers.
    dropped += ["transformers_version", "id2label", "label2id", "_name_or_path", "dtype"]
    write_json(folder / "config.json", {k: v for k, v in saved.items() if k not in dropped})
    save_file(stored_tensors(model, dtype), str(folder / "model.safetensors"))
    rows = [json.dumps([round(x, 9) for x in row]) for row in logits[:, :LOGITS_KEPT].tolist()]
    text = '{\n"input_ids": ' + json.dumps(ids.tolist())
    text += ',\n"logits": [\n' + ",\n".join(rows) + "\n]"
    text += ',\n"nll": ' + json.dumps([round(x, 9) for x in nll.tolist()]) + "\n}\n"
    (folder / "expected.json").write_text(text)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size:,} bytes, mean NLL {nll.mean().item():.6f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    for variant in VARIANTS:
        write_variant(args.out, variant, args.seed)


if __name__ == "__main__":
    main()
