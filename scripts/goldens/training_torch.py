"""Training of one small LLaMA with PyTorch's autograd and AdamW: golden losses and weights.

The model is transformers' own, its numbers and the batches come from a linear congruential generator
that the test has, too. Needs PyTorch and transformers 5.24. The output, one JSON object:

  shape     hidden, intermediate, heads, kv_heads, head_dim, vocab, layers, windows, length
  steps, rate, warmup, beta2, decay, clip   of every run; the rate is of harness/train/adamw.h
  runs      a list of
    name, loss (ce or kl), bits (0: weights are not rounded; else `int`, asymmetric), group
    trained    blocks, all, scales (blocks and LSQ's scales, Esser et al. 2020) or adapters (LoRA alone, beside
               rounded weights)
    rank, alpha   of adapters
    losses     before each step
    first      by parameter: its first eight numbers after the first step

Rounding is this project's (harness/quant/affine.h) with a straight-through gradient. All in float32,
as there: in float64 some weights would round to other codes.
"""
import argparse
import json
import math
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "harness/train/testdata/training.json"
SHAPE = {"hidden": 16, "intermediate": 24, "heads": 4, "kv_heads": 2, "head_dim": 6, "vocab": 40, "layers": 2,
         "windows": 3, "length": 12}
STEPS, RATE, WARMUP, BETA2, DECAY, CLIP = 20, 5e-3, 4, 0.95, 0.1, 1.0
RUNS = [("ce", "ce", 0, 0, "all"), ("kl", "kl", 0, 0, "blocks"), ("kl int4 g8", "kl", 4, 8, "blocks"),
        ("ce int2 g8", "ce", 2, 8, "blocks"), ("kl int3 g8 scales", "kl", 3, 8, "scales"),
        ("kl int3 g8 adapters", "kl", 3, 8, "adapters")]
RANK, ALPHA = 3, 6.0

torch.set_num_threads(1)


class Numbers:
    """x = x * 1664525 + 1013904223 modulo 2^32; a number is x / 2^32 in [0, 1)."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return self.state

    def tensor(self, shape, scale, shift):
        count = math.prod(shape)
        values = [(self.next() / 2**32 - 0.5) * scale + shift for _ in range(count)]
        return torch.tensor(values, dtype=torch.float64).to(torch.float32).reshape(shape)


def make_model():
    s = SHAPE
    config = LlamaConfig(hidden_size=s["hidden"], intermediate_size=s["intermediate"], num_hidden_layers=s["layers"],
                         num_attention_heads=s["heads"], num_key_value_heads=s["kv_heads"], head_dim=s["head_dim"],
                         vocab_size=s["vocab"], max_position_embeddings=64, rms_norm_eps=1e-5, attention_bias=True,
                         mlp_bias=True, tie_word_embeddings=False)
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config).to(torch.float32)


def own_name(name):
    return name.removeprefix("model.").removesuffix(".weight")


def fill(model, seed):
    """Parameters in the order of their names, each with a generator of its own."""
    with torch.no_grad():
        for k, (name, parameter) in enumerate(sorted(model.named_parameters(), key=lambda p: own_name(p[0]))):
            scale, shift = (0.5, 1.0) if parameter.dim() == 1 and name.endswith("weight") else (1.0, 0.0)
            parameter.copy_(Numbers(seed + 1000 * k).tensor(parameter.shape, scale, shift))


def batch(step):
    numbers = Numbers(77 + step)
    count = SHAPE["windows"] * SHAPE["length"]
    return torch.tensor([(numbers.next() >> 8) % SHAPE["vocab"] for _ in range(count)]).reshape(SHAPE["windows"], -1)


def grids(w, bits):
    most = 2**bits - 1
    lo, hi = w.amin(-1, keepdim=True).clamp(max=0), w.amax(-1, keepdim=True).clamp(min=0)
    scale = ((hi - lo) / most).to(torch.float16).to(torch.float32)
    return scale, (-lo / scale).round().clamp(0, most)


def rounded(weight, bits, group):
    w = weight.detach().reshape(weight.shape[0], -1, group)
    most = 2**bits - 1
    scale, zero = grids(w, bits)
    codes = ((w / scale).round() + zero).clamp(0, most)
    values = ((codes - zero) * scale).reshape(weight.shape)
    return weight + (values - weight).detach()


def round_linears(model, bits, group):
    for layer in model.model.layers:
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                def forward(x, module=module):
                    return torch.nn.functional.linear(x, rounded(module.weight, bits, group), module.bias)
                module.forward = forward


def linears(model):
    """(name, module) of those of the blocks."""
    return [(own_name(n), m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "layers." in n]


def learn_scales(model, bits, group):
    """The scales, by name: with zero points as they are chosen at the start, and a gradient over sqrt(N Qp)."""
    learned = {}
    for name, module in linears(model):
        scale, zero = grids(module.weight.detach().reshape(module.weight.shape[0], -1, group), bits)
        scale = torch.nn.Parameter(scale)
        factor = 1 / math.sqrt(group * (2 ** (bits - 1) - 1))
        scale.register_hook(lambda grad, factor=factor: grad * factor)
        learned[name + ".scale"] = scale

        def forward(x, module=module, scale=scale, zero=zero):
            stored = scale + (scale.to(torch.float16).to(torch.float32) - scale).detach()
            q = module.weight.reshape(module.weight.shape[0], -1, group) / stored
            q = torch.maximum(torch.minimum(q, 2**bits - 1 - zero), -zero)
            values = (q + (q.round() - q).detach()) * stored
            return torch.nn.functional.linear(x, values.reshape(module.weight.shape), module.bias)
        module.forward = forward
    return learned


def adapt(model, bits, group):
    """Adapters, by name, beside weights that are rounded once; their numbers as `fill` has them."""
    adapters = {}
    for name, module in linears(model):
        with torch.no_grad():
            module.weight.copy_(rounded(module.weight, bits, group))
        adapters[name + ".lora_A"] = torch.nn.Parameter(torch.empty(RANK, module.in_features))
        adapters[name + ".lora_B"] = torch.nn.Parameter(torch.empty(module.out_features, RANK))

        def forward(x, module=module, name=name):
            low = torch.nn.functional.linear(x, adapters[name + ".lora_A"])
            up = torch.nn.functional.linear(low, adapters[name + ".lora_B"])
            return torch.nn.functional.linear(x, module.weight, module.bias) + ALPHA / RANK * up
        module.forward = forward
    with torch.no_grad():
        for k, name in enumerate(sorted(adapters)):
            adapters[name].copy_(Numbers(7 + 1000 * k).tensor(adapters[name].shape, 0.5, 0.0))
    return adapters


def rate_share(step):
    if step <= WARMUP:
        return step / WARMUP
    return (1 + math.cos(math.pi * (step - 1 - WARMUP) / (STEPS - WARMUP))) / 2


def loss_of(model, reference, ids, kind):
    logits = model(ids).logits[:, :-1]
    if kind == "ce":
        return torch.nn.functional.cross_entropy(logits.reshape(-1, SHAPE["vocab"]), ids[:, 1:].reshape(-1))
    with torch.no_grad():
        other = reference(ids).logits[:, :-1].log_softmax(-1)
    own = logits.log_softmax(-1)
    return (other.exp() * (other - own)).sum(-1).mean()


def run(name, kind, bits, group, trained):
    model, reference = make_model(), make_model()
    fill(reference, 0)
    fill(model, 1 if bits == 0 and kind == "kl" else 0)
    if trained != "all":
        outside = {n: p for n, p in reference.state_dict().items() if not n.startswith("model.layers.")}
        model.load_state_dict(outside, strict=False)
    parameters = {own_name(n): p for n, p in model.named_parameters()
                  if trained == "all" or n.startswith("model.layers.")}
    if trained == "adapters":
        parameters = adapt(model, bits, group)
    elif trained == "scales":
        parameters |= learn_scales(model, bits, group)
    elif bits:
        round_linears(model, bits, group)
    matrices = [p for p in parameters.values() if p.dim() == 2]
    vectors = [p for p in parameters.values() if p.dim() != 2]  # scales have three dimensions
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0}],
                                  lr=RATE, betas=(0.9, BETA2), eps=1e-8)
    losses, first = [], {}
    for step in range(1, STEPS + 1):
        for group_of in optimizer.param_groups:
            group_of["lr"] = RATE * rate_share(step)
        optimizer.zero_grad()
        model.zero_grad()
        loss = loss_of(model, reference, batch(step), kind)
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), CLIP)
        optimizer.step()
        if step == 1:
            first = {n: p.detach().flatten()[:8].tolist() for n, p in sorted(parameters.items())}
    return {"name": name, "loss": kind, "bits": bits, "group": group, "trained": trained, "losses": losses,
            "first": first} | ({"rank": RANK, "alpha": ALPHA} if trained == "adapters" else {})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    out = parser.parse_args().out
    golden = {"shape": SHAPE, "steps": STEPS, "rate": RATE, "warmup": WARMUP, "beta2": BETA2, "decay": DECAY,
              "clip": CLIP, "runs": [run(*r) for r in RUNS]}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
