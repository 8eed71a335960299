"""AWQ and SmoothQuant on one small LLaMA block, in PyTorch, in float64: golden values of both.

Written from the papers (Lin et al. 2023, eq. 4-5 and weight clipping; Xiao et al. 2022, eq. 4) and
from this project's rounding (harness/quant/affine.h), with no code of either's authors. Needs
PyTorch 1.13 or later. The output, one JSON object:

  hidden, intermediate, head_dim, tokens, rms_eps, rope_theta   of the block
  weights   by name, row-major; attention_norm and mlp_norm are gains. Variants with fewer key-value
            heads use the first rows of k and v
  samples   the block's inputs, (tokens, hidden) each
  variants  a list of
    name, heads, kv_heads
    bits, granularity (group or row), group, symmetric   of every linear
    activation_bits   0: not rounded; else symmetric, a scale for each token
    losses   by producer: AWQ's loss (mean squared error of the module's output) at ratio i / 20
    ratios   by producer: the index of the first least loss
    limits   by linear: the clipping limits after scaling, (rows, scales a row) row-major
    smooth   by norm: a list of {alpha, scales}

Weights and samples are FP16 bit patterns. The losses of a group do not depend on whether another
group has been scaled; the limits do, and follow from all scales.
"""
import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "quantizers/testdata/awq_smoothquant.json"
HIDDEN, INTERMEDIATE, HEAD_DIM, TOKENS, SAMPLES = 32, 48, 8, 24, 2
RMS_EPS, ROPE_THETA = 1e-6, 10000.0
RATIOS = 20
CLIP_GRID, CLIP_STEPS = 20, 10
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
READERS = {
    "input_layernorm": ("q", "k", "v"),
    "v_proj": ("o",),
    "post_attention_layernorm": ("gate", "up"),
    "up_proj": ("down",),
}
GAINS = {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}
CLIPPED = ("v", "o", "gate", "up", "down")

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.backends.mkldnn.enabled = False


@dataclass(frozen=True)
class Variant:
    name: str
    heads: int
    kv_heads: int
    bits: int
    granularity: str
    group: int
    symmetric: bool
    activation_bits: int


VARIANTS = (
    Variant("mha_w3_g16", 4, 4, 3, "group", 16, False, 0),
    Variant("gqa_w4_row_a6", 4, 2, 4, "row", 0, True, 6),
)


# ---- Rounding ----


def half(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float16).to(torch.float64)


def round_rows(w: torch.Tensor, variant: Variant) -> torch.Tensor:
    """Each row of w shares a scale."""
    levels = 2**variant.bits - 1
    if variant.symmetric:
        top = 2 ** (variant.bits - 1) - 1
        scale = half(w.abs().amax(1, keepdim=True) / top)
        low, high, zero = -top, top, torch.zeros_like(scale)
    else:
        least, most = w.amin(1, keepdim=True).clamp(max=0), w.amax(1, keepdim=True).clamp(min=0)
        scale = half((most - least) / levels)
        low, high = 0, levels
        zero = torch.where(scale > 0, torch.round(-least / scale), scale).clamp(0, levels)
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (torch.clamp(torch.round(w / safe) + zero, low, high) - zero) * scale


def width_of(w: torch.Tensor, variant: Variant) -> int:
    return variant.group if variant.granularity == "group" else w.shape[1]


def round_weight(w: torch.Tensor, variant: Variant) -> torch.Tensor:
    return round_rows(w.reshape(-1, width_of(w, variant)), variant).reshape(w.shape)


def round_activations(x: torch.Tensor, variant: Variant) -> torch.Tensor:
    if variant.activation_bits == 0:
        return x
    top = 2 ** (variant.activation_bits - 1) - 1
    scale = x.abs().amax(1, keepdim=True) / top
    return torch.clamp(torch.round(x / scale), -top, top) * scale


# ---- The block ----


def rope(x: torch.Tensor) -> torch.Tensor:
    """x (heads, T, D); element i turns with i + D/2."""
    frequencies = ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angles = torch.outer(torch.arange(x.shape[1]).to(x.dtype), frequencies)
    first, second = x[..., : HEAD_DIM // 2], x[..., HEAD_DIM // 2 :]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def heads_of(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(len(x), -1, HEAD_DIM).transpose(0, 1)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """(T, heads * D) each -> (T, query heads * D), causal."""
    q, k, v = rope(heads_of(q)), rope(heads_of(k)), heads_of(v)
    shared_by = len(q) // len(k)
    k, v = k.repeat_interleave(shared_by, 0), v.repeat_interleave(shared_by, 0)
    scores = q @ k.transpose(1, 2) / math.sqrt(HEAD_DIM)
    future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
    weights = torch.softmax(scores.masked_fill(future, -math.inf), -1)
    return (weights @ v).transpose(0, 1).reshape(q.shape[1], -1)


def rms_norm(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    return x / torch.sqrt((x * x).mean(1, keepdim=True) + RMS_EPS) * gain


def tap_inputs(block: dict, h: torch.Tensor) -> dict:
    """What each group's readers read for the block's input h (T, hidden)."""
    x = rms_norm(h, block["attention_norm"])
    attention = attend(x @ block["q"].T, x @ block["k"].T, x @ block["v"].T)
    h = h + attention @ block["o"].T
    y = rms_norm(h, block["mlp_norm"])
    gated = torch.nn.functional.silu(y @ block["gate"].T) * (y @ block["up"].T)
    return {
        "input_layernorm": x,
        "v_proj": attention,
        "post_attention_layernorm": y,
        "up_proj": gated,
    }


def module(block: dict, producer: str, x: torch.Tensor) -> torch.Tensor:
    """The module whose output AWQ compares, for the group's inputs x."""
    if producer == "input_layernorm":
        return attend(x @ block["q"].T, x @ block["k"].T, x @ block["v"].T) @ block["o"].T
    if producer == "post_attention_layernorm":
        gate, up = x @ block["gate"].T, x @ block["up"].T
        return (torch.nn.functional.silu(gate) * up) @ block["down"].T
    return x @ block[READERS[producer][0]].T


def fold(block: dict, producer: str, scales: torch.Tensor) -> dict:
    folded = dict(block)
    if producer in GAINS:
        folded[GAINS[producer]] = block[GAINS[producer]] / scales
    else:
        name = producer.removesuffix("_proj")
        folded[name] = block[name] / scales[:, None]
    for reader in READERS[producer]:
        folded[reader] = block[reader] * scales
    return folded


# ---- The methods ----


def awq_scales(inputs: list, ratio: float) -> torch.Tensor:
    scales = torch.cat(inputs).abs().mean(0).pow(ratio).clamp(min=1e-4)
    return scales / (scales.max() * scales.min()).sqrt()


def awq_losses(block: dict, producer: str, inputs: list, variant: Variant) -> list:
    losses = []
    for step in range(RATIOS):
        scales = awq_scales(inputs, step / RATIOS)
        trial = dict(block)
        for reader in READERS[producer]:
            trial[reader] = round_weight(block[reader] * scales, variant)
        errors = [
            module(trial, producer, round_activations(x / scales, variant))
            - module(block, producer, x)
            for x in inputs
        ]
        losses.append(torch.cat(errors).square().mean().item())
    return losses


def clip_limits(w: torch.Tensor, inputs: list, variant: Variant) -> torch.Tensor:
    width = width_of(w, variant)
    x = torch.cat(inputs)
    limits = []
    for first in range(0, w.shape[1], width):
        part, seen = w[:, first : first + width], x[:, first : first + width]
        largest = part.abs().amax(1)
        tried = torch.stack([largest * (1 - i / CLIP_GRID) for i in range(CLIP_STEPS)])
        errors = []
        for limit in tried:
            cut = torch.maximum(torch.minimum(part, limit[:, None]), -limit[:, None])
            errors.append((seen @ (part - round_rows(cut, variant)).T).square().sum(0))
        best = torch.stack(errors).argmin(0)
        limits.append(tried.gather(0, best[None])[0])
    return torch.stack(limits, 1)


def smooth_scales(block: dict, producer: str, inputs: list, alpha: float) -> torch.Tensor:
    x = torch.cat(inputs).abs().amax(0)
    w = torch.cat([block[reader] for reader in READERS[producer]]).abs().amax(0).clamp(min=1e-5)
    return (x.pow(alpha) / w.pow(1 - alpha)).clamp(min=1e-5)


# ---- The golden file ----


def make_block() -> tuple[dict, list]:
    """Weights and hidden states whose numbers FP16 holds, with a few loud channels."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    block = {"attention_norm": 1 + 0.2 * normal(HIDDEN), "mlp_norm": 1 + 0.2 * normal(HIDDEN)}
    block["attention_norm"][5] *= 12
    block["mlp_norm"][[3, 20]] *= 8
    shapes = {
        **{name: (HIDDEN, HIDDEN) for name in ("q", "k", "v", "o")},
        "gate": (INTERMEDIATE, HIDDEN),
        "up": (INTERMEDIATE, HIDDEN),
        "down": (HIDDEN, INTERMEDIATE),
    }
    for name, (rows, cols) in shapes.items():
        # Heavy tails, which is what clipping is for.
        block[name] = 0.6 * normal(rows, cols) * normal(rows, cols).abs() / math.sqrt(cols)
    samples = [normal(TOKENS, HIDDEN) * (1 + normal(HIDDEN).abs()) for _ in range(SAMPLES)]
    return {name: half(value) for name, value in block.items()}, [half(x) for x in samples]


def run_variant(variant: Variant, block: dict, samples: list) -> dict:
    block = dict(block)
    for name in ("k", "v"):
        block[name] = block[name][: variant.kv_heads * HEAD_DIM]
    producers = [p for p in READERS if p != "v_proj" or variant.heads == variant.kv_heads]
    taps = [tap_inputs(block, h) for h in samples]
    losses = {p: awq_losses(block, p, [t[p] for t in taps], variant) for p in producers}
    ratios = {p: min(range(RATIOS), key=curve.__getitem__) for p, curve in losses.items()}
    folded = block
    for p in producers:
        folded = fold(folded, p, awq_scales([t[p] for t in taps], ratios[p] / RATIOS))
    after = [tap_inputs(folded, h) for h in samples]
    source = {reader: p for p, readers in READERS.items() for reader in readers}
    limits = {
        name: clip_limits(folded[name], [t[source[name]] for t in after], variant).flatten().tolist()
        for name in CLIPPED
    }
    smooth = {
        norm: [
            {"alpha": a, "scales": smooth_scales(block, norm, [t[norm] for t in taps], a).tolist()}
            for a in ALPHAS
        ]
        for norm in GAINS
    }
    settings = dict(vars(variant))
    return {**settings, "losses": losses, "ratios": ratios, "limits": limits, "smooth": smooth}


def patterns(x: torch.Tensor) -> list[int]:
    return [bits & 0xFFFF for bits in x.to(torch.float16).view(torch.int16).flatten().tolist()]


def shortened(value):
    """Numbers with the digits that the tests look at."""
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    return float(f"{value:.8g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    block, samples = make_block()
    golden = {
        "hidden": HIDDEN,
        "intermediate": INTERMEDIATE,
        "head_dim": HEAD_DIM,
        "tokens": TOKENS,
        "rms_eps": RMS_EPS,
        "rope_theta": ROPE_THETA,
        "weights": {name: patterns(value) for name, value in block.items()},
        "samples": [patterns(x) for x in samples],
        "variants": [shortened(run_variant(v, block, samples)) for v in VARIANTS],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
    for variant in golden["variants"]:
        print(variant["name"], {p: f"{r / RATIOS:.2f}" for p, r in variant["ratios"].items()})


if __name__ == "__main__":
    main()
