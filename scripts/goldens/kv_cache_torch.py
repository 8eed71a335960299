"""A rounded cache of keys and values in PyTorch, token by token: algorithm 1 of KIVI (Liu et al. 2024).

One head. Each token's key and value join the cache; what has to be rounded then is; then its query attends to what
the cache holds. Rounding is in float32, with scales and minima as FP16 (harness/quant/kv_scheme.h has the rules),
attention in float64.

The output is a JSON object:
  tokens, dim
  q, k, v  FP16 bit patterns, (tokens, dim), four hexadecimal digits each
  cases    a list:
    bits, keys (channel or token), values (token), group, symmetric, residual
    rounded_keys, rounded_values  how many tokens are rounded at the end
    cached_keys, cached_values    every sixth of these, float32 bit patterns, eight hexadecimal digits each
    queries  positions whose outputs follow
    outputs  (queries, dim)
"""
import json
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parents[2] / "harness/model/testdata/kv_cache.json"
TOKENS, DIM, EVERY = 75, 32, 6
QUERIES = [0, 14, 15, 16, 31, 33, 47, 48, 62, 74]
CASES = [  # bits, keys, group, symmetric, residual
    (2, "channel", 16, False, 32),
    (4, "channel", 16, False, 0),
    (3, "channel", 32, True, 0),
    (4, "token", 16, False, 20),
    (8, "token", 32, False, 0),
    (5, "token", 16, True, 7),
]


def half(x):
    return x.clamp(-65504, 65504).half().float()


def rounded(x, bits, symmetric, along):
    """x (tokens, channels) in float32, one scale for the numbers along that dimension."""
    if symmetric:
        limit = 2 ** (bits - 1) - 1
        scale = half(x.abs().amax(along, keepdim=True) / limit)
        q = torch.where(scale > 0, torch.clamp(torch.round(x / scale), -limit, limit), torch.zeros_like(x))
        return scale * q + 0.0  # no -0
    levels = 2**bits - 1
    minimum = half(x.amin(along, keepdim=True))
    scale = half(torch.clamp((x.amax(along, keepdim=True) - minimum) / levels, min=0))
    q = torch.where(scale > 0, torch.clamp(torch.round((x - minimum) / scale), 0, levels), torch.zeros_like(x))
    return minimum + scale * q


def round_keys_by_channel(x, group, bits, symmetric):
    return torch.cat([rounded(part, bits, symmetric, 0) for part in x.split(group)])


def round_tokens(x, group, bits, symmetric):
    return torch.cat([rounded(part, bits, symmetric, 1) for part in x.split(group, 1)], 1)


class Side:
    """What is rounded, and what waits."""

    def __init__(self):
        self.done = torch.empty(0, DIM)
        self.waiting = torch.empty(0, DIM)

    def take(self, count, how):
        self.done = torch.cat([self.done, how(self.waiting[:count])])
        self.waiting = self.waiting[count:]

    def all(self):
        return torch.cat([self.done, self.waiting]).double()


def run(q, k, v, bits, by, group, symmetric, residual):
    keys, values = Side(), Side()
    block = residual or group
    outputs = []
    for t in range(TOKENS):
        keys.waiting = torch.cat([keys.waiting, k[t : t + 1]])
        values.waiting = torch.cat([values.waiting, v[t : t + 1]])
        if by == "channel":
            if len(keys.waiting) == block:
                keys.take(block, lambda x: round_keys_by_channel(x, group, bits, symmetric))
        elif len(keys.waiting) > residual:
            keys.take(len(keys.waiting) - residual, lambda x: round_tokens(x, group, bits, symmetric))
        if len(values.waiting) > residual:
            values.take(len(values.waiting) - residual, lambda x: round_tokens(x, group, bits, symmetric))
        scores = keys.all() @ q[t].double() / DIM**0.5
        outputs.append(torch.softmax(scores, 0) @ values.all())
    return keys.done, values.done, outputs


def hexadecimal(x, integer, digits):
    mask = (1 << 4 * digits) - 1
    return "".join(f"{n & mask:0{digits}x}" for n in x.contiguous().view(integer).flatten().tolist())


def main():
    generator = torch.Generator().manual_seed(7)
    q, k, v = (torch.randn(TOKENS, DIM, generator=generator).half() for _ in range(3))
    k[:, 3] += 12  # a channel of one sign, and a loud one
    k[:, 20] *= 9
    k[:, 5] = 0.25  # one without any change
    q[:, [3, 20]] /= 8
    cases = []
    for bits, by, group, symmetric, residual in CASES:
        keys, values, outputs = run(q.float(), k.float(), v.float(), bits, by, group, symmetric, residual)
        cases.append({
            "bits": bits, "keys": by, "values": "token", "group": group, "symmetric": symmetric,
            "residual": residual, "rounded_keys": len(keys), "rounded_values": len(values),
            "cached_keys": hexadecimal(keys[::EVERY], torch.int32, 8),
            "cached_values": hexadecimal(values[::EVERY], torch.int32, 8),
            "queries": QUERIES, "outputs": [[round(x, 9) for x in outputs[t].tolist()] for t in QUERIES],
        })
    golden = {"tokens": TOKENS, "dim": DIM}
    golden |= {name: hexadecimal(x, torch.int16, 4) for name, x in (("q", q), ("k", k), ("v", v))}
    head = json.dumps(golden)[:-1]
    OUT.write_text(head + ', "cases": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
