"""HQQ's zero points by the authors' package (PyPI: hqq 0.2.8, without its dependencies but torch and
numpy): the golden vectors of quantizers/hqq_test.cpp.

`optimize_weights_proximal_legacy` is run on the CPU in FP32 with the scales and first zero points
that the format float_zero gives: scale = (max - min) / (2^b - 1) as FP16, zero = -min / scale as FP16.
That version of the package leaves beta as it is (kappa 1); `kappa` cases repeat its step with beta
growing as the paper has it.

The output is a JSON object of a list `cases`:
  rows, cols, group, bits, kappa
  weights  FP16 bit patterns, row-major
  zeros    of each group, FP32, row-major
  codes    of every weight, with these zeros as FP16
"""
import argparse
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "quantizers/testdata/hqq.json"
ROWS, COLS = 12, 128
OPTIONS = {"lp_norm": 0.7, "beta": 1e1, "kappa": 1.01, "iters": 20}


def authors_module():
    """hqq.core.optimize alone: the package's __init__ wants transformers."""
    where = importlib.util.find_spec("hqq").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("hqq_optimize", f"{where}/core/optimize.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["hqq_optimize"] = module
    spec.loader.exec_module(module)
    return module


def grown(optimize, weights, scale, zero, top):
    """The authors' step and end with a growing beta."""
    beta, best = OPTIONS["beta"], torch.inf
    for _ in range(OPTIONS["iters"]):
        step = optimize.optimize_weights_proximal_legacy_step
        restored, _, zero, _ = step(weights, scale, zero, [0, top], beta, OPTIONS["lp_norm"], 1)
        beta *= OPTIONS["kappa"]
        error = (weights - restored).abs().mean()
        if error >= best:
            break
        best = error
    return zero


def make_case(optimize, seed: int, bits: int, group: int, growing: bool) -> dict:
    rng = np.random.default_rng(seed)
    values = (0.05 * rng.standard_t(4, size=(ROWS, COLS))).astype(np.float16)
    weights = torch.from_numpy(values.astype(np.float32)).reshape(-1, group)
    top = 2**bits - 1
    low, high = weights.amin(1, keepdim=True), weights.amax(1, keepdim=True)
    scale = ((high - low) / top).half().float()
    zero = (-low / scale).half().float()
    if growing:
        zero = grown(optimize, weights, 1 / scale, zero, top)
    else:
        run = optimize.optimize_weights_proximal_legacy
        _, _, zero = run(weights, 1 / scale, zero, [0, top], axis=1, opt_params=OPTIONS)
    codes = torch.round(weights / scale + zero.half().float()).clamp(0, top)
    return {
        "rows": ROWS,
        "cols": COLS,
        "group": group,
        "bits": bits,
        "kappa": OPTIONS["kappa"] if growing else 1,
        "weights": values.ravel().view(np.uint16).tolist(),
        "zeros": [float(z) for z in zero.flatten()],
        "codes": codes.to(torch.int64).flatten().tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    optimize = authors_module()
    cases = [
        make_case(optimize, 1, 4, 64, False),
        make_case(optimize, 2, 3, 64, False),
        make_case(optimize, 3, 2, 32, False),
        make_case(optimize, 4, 4, 64, True),
        make_case(optimize, 5, 2, 128, True),
    ]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    args.out.write_text(f'{{"cases":[\n{lines}\n]}}\n')
    print(f"{args.out}: {len(cases)} cases, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
