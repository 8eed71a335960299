"""The forward pass of a Hugging Face LLaMA checkpoint in float64, in numpy, one sequence at a time.

Every step, the rotary angles and the norms included, is float64. In the shapes below T is the
number of positions, D the head dimension and V the vocabulary.
"""
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import safetensors_io

# Rows of logits computed at once: bounds the memory that a large vocabulary needs.
LOGIT_ROWS = 256


@dataclass(frozen=True)
class Config:
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    rms_eps: float
    rope_theta: float
    rope_scaling: dict | None
    tied: bool

    @staticmethod
    def load(path: Path) -> "Config":
        """Reads config.json; absent keys take the defaults of the LLaMA architecture."""
        raw = json.loads(path.read_text())
        if raw.get("model_type", "llama") != "llama" or raw.get("hidden_act", "silu") != "silu":
            raise SystemExit(f"{path}: only LLaMA models with the silu activation are supported")
        heads = raw["num_attention_heads"]
        return Config(
            layers=raw["num_hidden_layers"],
            heads=heads,
            kv_heads=raw.get("num_key_value_heads") or heads,
            head_dim=raw.get("head_dim") or raw["hidden_size"] // heads,
            context=raw.get("max_position_embeddings", 2048),
            rms_eps=raw.get("rms_norm_eps", 1e-6),
            rope_theta=raw.get("rope_theta", 10000.0),
            rope_scaling=raw.get("rope_scaling"),
            tied=raw.get("tie_word_embeddings", False),
        )


def rope_frequencies(config: Config) -> np.ndarray:
    """Radians a position for each of the D/2 rotated pairs."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    frequencies = config.rope_theta**-exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "default":
        return frequencies
    if kind == "linear":
        return frequencies / scaling["factor"]
    if kind == "llama3":
        return llama3_frequencies(frequencies, scaling)
    raise SystemExit(f"rope scaling '{kind}' is not supported: expected default, linear or llama3")


def llama3_frequencies(frequencies: np.ndarray, scaling: dict) -> np.ndarray:
    """Llama 3.1: slow pairs are slowed by `factor`, fast ones stay, those between are blended.

    A pair's place is the number of turns that it makes in the original context: below
    low_freq_factor is slow, above high_freq_factor is fast.
    """
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    keep = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return keep * frequencies + (1.0 - keep) * frequencies / scaling["factor"]


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Rotates x (heads, T, D); element i is paired with i + D/2, as Hugging Face stores it."""
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def silu(x: np.ndarray) -> np.ndarray:
    # Both branches are evaluated: the exponent's sign is what keeps either from overflowing.
    decay = np.exp(-np.abs(x))
    return x * np.where(x >= 0, 1.0, decay) / (1.0 + decay)


def causal_attention(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """One head: (T, D) each -> (T, D)."""
    scores = query @ key.T / math.sqrt(query.shape[-1])
    scores[np.triu_indices(len(scores), 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (weights / weights.sum(axis=-1, keepdims=True)) @ value


class Llama:
    def __init__(self, model_dir: Path):
        self.config = Config.load(model_dir / "config.json")
        self.tensors = safetensors_io.read_checkpoint(model_dir)
        self.embedding = self.tensors["model.embed_tokens.weight"]
        self.head = self.embedding if self.config.tied else self.tensors["lm_head.weight"]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        y = x @ self.tensors[f"{name}.weight"].T
        bias = self.tensors.get(f"{name}.bias")
        return y if bias is None else y + bias

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return rms_norm(x, self.tensors[f"{name}.weight"], self.config.rms_eps)

    def split_heads(self, x: np.ndarray) -> np.ndarray:
        """(T, heads * D) -> (heads, T, D)."""
        return x.reshape(len(x), -1, self.config.head_dim).transpose(1, 0, 2)

    def attention(self, name: str, x: np.ndarray) -> np.ndarray:
        angles = np.outer(np.arange(len(x)), rope_frequencies(self.config))
        cos, sin = np.cos(angles), np.sin(angles)
        query = rotate(self.split_heads(self.linear(f"{name}.q_proj", x)), cos, sin)
        key = rotate(self.split_heads(self.linear(f"{name}.k_proj", x)), cos, sin)
        value = self.split_heads(self.linear(f"{name}.v_proj", x))
        shared_by = self.config.heads // self.config.kv_heads
        heads = [
            causal_attention(query[h], key[h // shared_by], value[h // shared_by])
            for h in range(self.config.heads)
        ]
        return self.linear(f"{name}.o_proj", np.concatenate(heads, axis=-1))

    def mlp(self, name: str, x: np.ndarray) -> np.ndarray:
        gated = silu(self.linear(f"{name}.gate_proj", x)) * self.linear(f"{name}.up_proj", x)
        return self.linear(f"{name}.down_proj", gated)

    def hidden(self, ids: np.ndarray) -> np.ndarray:
        """Token ids (T,) -> the final norm's output (T, hidden)."""
        x = self.embedding[ids]
        for i in range(self.config.layers):
            layer = f"model.layers.{i}"
            x = x + self.attention(f"{layer}.self_attn", self.norm(f"{layer}.input_layernorm", x))
            x = x + self.mlp(f"{layer}.mlp", self.norm(f"{layer}.post_attention_layernorm", x))
        return self.norm("model.norm", x)

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Token ids (T,) -> logits (T, V)."""
        return self.hidden(ids) @ self.head.T

    def nll(self, ids: np.ndarray) -> np.ndarray:
        """Token ids (T,) -> -ln p of tokens 1..T-1 given those before them, (T-1,)."""
        hidden = self.hidden(ids)[:-1]
        losses = []
        for begin in range(0, len(hidden), LOGIT_ROWS):
            logits = hidden[begin : begin + LOGIT_ROWS] @ self.head.T
            targets = ids[begin + 1 : begin + 1 + len(logits)]
            top = logits.max(axis=-1)
            log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=-1))
            losses.append(log_sum - logits[np.arange(len(logits)), targets])
        return np.concatenate(losses)
