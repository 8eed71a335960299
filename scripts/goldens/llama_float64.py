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
    sliding_window: int | None
    tied: bool

    @staticmethod
    def load(path: Path) -> "Config":
        """Reads config.json; absent keys take the defaults of the architecture."""
        raw = json.loads(path.read_text())
        model_type = raw.get("model_type", "llama")
        if model_type not in ("llama", "mistral") or raw.get("hidden_act", "silu") != "silu":
            raise SystemExit(f"{path}: expected LLaMA or Mistral with the silu activation")
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
            sliding_window=raw.get("sliding_window", 4096) if model_type == "mistral" else None,
            tied=raw.get("tie_word_embeddings", False),
        )


def plain_frequencies(base: float, head_dim: int) -> np.ndarray:
    return base ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)


def rope_frequencies(config: Config, length: int) -> tuple[np.ndarray, float]:
    """Radians a position for each of the D/2 rotated pairs in a sequence of `length` tokens, and
    what cosines and sines are multiplied by."""
    plain = plain_frequencies(config.rope_theta, config.head_dim)
    scaling = config.rope_scaling
    if scaling is None:
        return plain, 1.0
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "default":
        return plain, 1.0
    if kind == "linear":
        return plain / scaling["factor"], 1.0
    if kind == "llama3":
        return llama3_frequencies(plain, scaling), 1.0
    if kind == "dynamic":
        return dynamic_frequencies(config, length), 1.0
    if kind == "yarn":
        return yarn_frequencies(config, plain), yarn_attention_factor(config)
    raise SystemExit(f"rope scaling '{kind}' is not supported")


def dynamic_frequencies(config: Config, length: int) -> np.ndarray:
    """NTK-aware: the base grows with the sequence, once that is longer than the context."""
    times = max(length, config.context) / config.context
    factor, dim = config.rope_scaling["factor"], config.head_dim
    base = config.rope_theta * (factor * times - (factor - 1)) ** (dim / (dim - 2))
    return plain_frequencies(base, dim)


def yarn_original_and_factor(config: Config) -> tuple[float, float]:
    scaling = config.rope_scaling
    original = scaling.get("original_max_position_embeddings") or config.context
    return original, scaling.get("factor") or config.context / original


def yarn_frequencies(config: Config, plain: np.ndarray) -> np.ndarray:
    """YaRN: fast pairs stay, slow ones are slowed by the factor, a ramp over the pairs between."""
    scaling = config.rope_scaling
    original, factor = yarn_original_and_factor(config)

    def pair_of(turns: float) -> float:
        # The plain frequency of pair i is theta^(-2i/D); turns = original * frequency / (2 pi).
        frequency = turns * 2 * math.pi / original
        return -math.log(frequency) / math.log(config.rope_theta) * config.head_dim / 2

    low = pair_of(scaling.get("beta_fast") or 32)
    high = pair_of(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.head_dim - 1)
    if low == high:
        high += 0.001
    slowed = np.clip((np.arange(len(plain)) - low) / (high - low), 0.0, 1.0)
    return slowed * plain / factor + (1.0 - slowed) * plain


def yarn_attention_factor(config: Config) -> float:
    scaling = config.rope_scaling
    _, factor = yarn_original_and_factor(config)

    def mscale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if scaling.get("attention_factor") is not None:
        return scaling["attention_factor"]
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return mscale(scaling["mscale"]) / mscale(scaling["mscale_all_dim"])
    return mscale(1.0)


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


def causal_attention(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, window: int | None
) -> np.ndarray:
    """One head: (T, D) each -> (T, D). A token sees itself and those before it, `window` in all."""
    scores = query @ key.T / math.sqrt(query.shape[-1])
    behind = np.arange(len(scores))[:, None] - np.arange(len(scores))[None, :]
    scores[(behind < 0) | (behind >= (window or len(scores)))] = -np.inf
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
        frequencies, factor = rope_frequencies(self.config, len(x))
        angles = np.outer(np.arange(len(x)), frequencies)
        cos, sin = factor * np.cos(angles), factor * np.sin(angles)
        query = rotate(self.split_heads(self.linear(f"{name}.q_proj", x)), cos, sin)
        key = rotate(self.split_heads(self.linear(f"{name}.k_proj", x)), cos, sin)
        value = self.split_heads(self.linear(f"{name}.v_proj", x))
        shared_by = self.config.heads // self.config.kv_heads
        heads = [
            causal_attention(
                query[h], key[h // shared_by], value[h // shared_by], self.config.sliding_window
            )
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
