"""LLM.int8() by bitsandbytes itself (PyPI, its CPU kernels) and by the paper's equation in float64.

For each case, x (tokens, in) as FP16 patterns and int8 weights (out, in) with FP16 scales of rows:

  outlier_channels  those that bitsandbytes finds for the threshold
  row_stats, codes  of its rows of activations (int8_vectorwise_quant)
  bitsandbytes      outputs (int8_mixed_scaled_mm in FP32)
  int8_float64      the same sums in float64: its constant for 1 / 127^2 is 1.8e-5 too large
  paper_float64     Dettmers et al. 2022, eq. 8: scales without the outlier channels, which multiply
                    the original FP16 weights

Codes are compared bit for bit, so no quotient may lie within rounding of a tie: the program fails
where one does.

    python3 scripts/goldens/llm_int8.py          (PyTorch, bitsandbytes 0.50)
"""
import json
import pathlib

import bitsandbytes  # noqa: F401, registers its operators
import numpy as np
import torch

OUT = pathlib.Path(__file__).parents[2] / "harness/kernels/testdata/llm_int8.json"


def halves(values):
    return values.astype(np.float16).view(np.uint16).tolist()


def case(name, tokens, inputs, outputs, outliers, seed, threshold=6.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tokens, inputs)).astype(np.float16)
    for channel in outliers:  # each in one token; small in the others
        x[channel % tokens, channel] = np.float16(rng.choice([-1, 1]) * rng.uniform(6.5, 60))
    if outliers:
        x[outliers[0] % tokens, outliers[0]] = np.float16(threshold)  # what equals it is one
    originals = (rng.normal(size=(outputs, inputs)) / 8).astype(np.float16)
    scales = (np.abs(originals).max(axis=1).astype(np.float32) / 127).astype(np.float16)
    weights = np.rint(originals.astype(np.float32) / scales.astype(np.float32)[:, None])
    weights = np.clip(weights, -127, 127).astype(np.int8)

    a, b = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(weights)
    scb = torch.from_numpy(scales.astype(np.float32) * np.float32(127))
    codes, stats, found = torch.ops.bitsandbytes.int8_vectorwise_quant(a.clone(), threshold)
    if tokens == 1 and found is not None:
        codes[:, found] = 0
    output, _ = torch.ops.bitsandbytes.int8_mixed_scaled_mm(a, codes, b, stats, scb, found)

    found = [] if found is None else found.tolist()
    wide, steps = x.astype(np.float64), scales.astype(np.float64)
    quotients = wide * 127 / stats.numpy().astype(np.float64)[:, None]
    quotients[:, found] = 0
    assert np.abs(np.abs(quotients % 1) - 0.5).min() > 1e-5, f"{name}: a tie, take another seed"
    decoded = weights * steps[:, None]

    def mixed(absmax, outlier_weights):
        rest = wide.copy()
        rest[:, found] = 0
        scale = absmax.astype(np.float32) / np.float32(127)
        rounded = np.clip(np.rint(rest / scale.astype(np.float64)[:, None]), -127, 127)
        product = scale.astype(np.float64)[:, None] * rounded @ decoded.T
        return product + wide[:, found] @ outlier_weights[:, found].T

    kept = np.delete(np.abs(wide), found, axis=1)
    return {
        "name": name, "threshold": threshold, "x": halves(x),
        "weights": weights.tolist(), "weight_scales": halves(scales),
        "originals_by_channel": halves(originals.T),
        "outlier_channels": found, "row_stats": stats.tolist(), "codes": codes.tolist(),
        "bitsandbytes": output.tolist(),
        "int8_float64": mixed(stats.numpy(), decoded).tolist(),
        "paper_float64": mixed(kept.max(axis=1), originals.astype(np.float64)).tolist(),
    }


CASES = [
    case("no outlier", 3, 20, 5, [], 1),
    case("some in a window", 5, 48, 9, [0, 7, 8, 31], 2),
    case("one token", 1, 40, 6, [3, 39], 3),
    case("most channels", 4, 24, 4, list(range(0, 24, 2)) + [1, 3, 5], 4),
    case("another threshold", 6, 33, 3, [5, 20], 5, threshold=2.5),
]
OUT.parent.mkdir(exist_ok=True)
OUT.write_text("[\n" + ",\n".join(json.dumps(c) for c in CASES) + "\n]\n")
