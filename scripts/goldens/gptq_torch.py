"""GPTQ in PyTorch, float64: the golden vectors of quantizers/gptq_test.cpp.

Written from Algorithm 1 of Frantar et al. 2022 (arXiv:2210.17323): the inverse of the damped
Hessian is formed and factored as the paper does, and every column updates all later ones at once,
without lazy batches. What the paper leaves open is as in its authors' code: a channel whose input
is always 0 gets 1 on the diagonal, before the mean that the damping refers to is taken, and its
weights count as 0. Rounding follows harness/quant/affine.h: scales are stored as FP16, the stored
scale rounds, ties go to even. asymmetry is the alpha of GPTAQ (Li et al. 2025, arXiv:2504.02692): column
j, when it is reached, adds w_j P_jk to every later one, P = alpha ((R - X) X^T U^T, above the
diagonal) U, R being what the reference gives in the place of X. mse_clip tries the ranges 1 - i / 100, i = 0..79, of the min-max
range and takes the first with the least sum of |w - Q(w)|^2.4.

The output is a JSON object:
  inputs   list of {tokens, channels, values}: FP16 bit patterns, (tokens, channels) row-major
  weights  list of {rows, cols, values}: FP16 bit patterns, row-major
  cases    list of
    name, inputs, weights (indices into the lists), bits, granularity (row or group), group,
    symmetric, act_order, static_groups, mse_clip, asymmetry, reference (index into inputs, or -1)
    order   the column that is processed p-th, if it is part of the format (act_order without
            static_groups, of groups); else empty
    codes   of every position, row-major, in [0, 2^bits)
    error   sum over rows of d H d^T, d the row's w - q, H the sum of x x^T without damping
"""
import argparse
import json
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "quantizers/testdata/gptq.json"
DAMP = 0.01
ROWS, COLS, TOKENS, GROUP = 24, 64, 192, 16
SHORT_ROWS, SHORT_COLS, SHORT_TOKENS, SHORT_GROUP = 40, 100, 128, 32  # its last group has 4 columns


@dataclass(frozen=True)
class Case:
    name: str
    inputs: int
    weights: int
    bits: int
    granularity: str
    symmetric: bool
    act_order: bool
    static_groups: bool
    mse_clip: bool = False
    group: int = GROUP
    asymmetry: float = 0.0
    reference: int = -1

    def width(self, cols: int) -> int:
        """Columns that share a scale."""
        return self.group if self.granularity == "group" else cols

    @property
    def regroups(self) -> bool:
        return self.granularity == "group" and not self.static_groups


# ---- Grids ----


def divisor(scale: torch.Tensor) -> torch.Tensor:
    return torch.where(scale == 0, torch.ones_like(scale), scale)


@dataclass(frozen=True)
class Grid:
    """One scale and zero point for each row, as columns (rows, 1)."""

    scale: torch.Tensor
    zero: torch.Tensor
    least: int
    most: int

    def codes(self, w: torch.Tensor) -> torch.Tensor:
        codes = torch.clamp(torch.round(w / divisor(self.scale)) + self.zero, self.least, self.most)
        return torch.where(self.scale == 0, self.zero.expand_as(codes), codes)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        return self.scale * (codes - self.zero)


def stored(scale: torch.Tensor) -> torch.Tensor:
    return scale.float().half().double()


def spanning_grid(low: torch.Tensor, high: torch.Tensor, case: Case) -> Grid:
    """low, high: (rows, 1); the range always contains 0."""
    top = 2**case.bits - 1
    low, high = low.clamp(max=0), high.clamp(min=0)
    if case.symmetric:
        middle = 2 ** (case.bits - 1)
        scale = stored(torch.maximum(-low, high) / (middle - 1))
        return Grid(scale, torch.full_like(scale, middle), 1, top)
    scale = stored((high - low) / top)
    zero = torch.round(-low / divisor(scale)).clamp(0, top)
    return Grid(scale, torch.where(scale == 0, torch.zeros_like(zero), zero), 0, top)


def choose_grid(w: torch.Tensor, case: Case) -> Grid:
    """w: (rows, columns that share a scale)."""
    low, high = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
    best = spanning_grid(low, high, case)
    if not case.mse_clip:
        return best
    scale, zero = best.scale, best.zero
    least = torch.full_like(scale, float("inf"))
    for i in range(80):
        tried = spanning_grid((1 - i / 100) * low, (1 - i / 100) * high, case)
        distance = (w - tried.values(tried.codes(w))).abs().pow(2.4).sum(1, keepdim=True)
        scale = torch.where(distance < least, tried.scale, scale)
        zero = torch.where(distance < least, tried.zero, zero)
        least = torch.minimum(least, distance)
    return Grid(scale, zero, best.least, best.most)


# ---- The algorithm ----


def inverse_factor(hessian: torch.Tensor) -> torch.Tensor:
    """U of the damped Hessian: upper, H^-1 = U^T U."""
    damped = hessian + DAMP * hessian.diagonal().mean() * torch.eye(len(hessian))
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)


def carried(difference: torch.Tensor, inputs: torch.Tensor, factor: torch.Tensor, alpha: float):
    """P of GPTAQ; all in processing order."""
    return alpha * (difference.T @ inputs @ factor.T).triu(1) @ factor


def gptq(weights: torch.Tensor, inputs: torch.Tensor, case: Case, reference: torch.Tensor) -> dict:
    """float64 weights (rows, cols) and inputs (tokens, cols) -> order, codes by position, error."""
    gram = inputs.T @ inputs
    hessian = gram.clone()
    dead = hessian.diagonal() == 0
    hessian[dead, dead] = 1
    original = weights.masked_fill(dead, 0)

    cols = weights.shape[1]
    width = case.width(cols)
    order = torch.arange(cols)
    if case.act_order:
        order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
    factor = inverse_factor(hessian[order][:, order])
    take_over = carried((reference - inputs)[:, order], inputs[:, order], factor, case.asymmetry)
    # Slices end where rows do: the last group has what is left.
    grids = [choose_grid(original[:, at : at + width], case) for at in range(0, cols, width)]

    w = original[:, order].clone()
    codes, rounded = torch.zeros_like(w), torch.zeros_like(w)
    for p in range(cols):
        if case.regroups and p % width == 0:
            grids[p // width] = choose_grid(w[:, p : p + width], case)
        grid = grids[(p if case.regroups else int(order[p])) // width]
        codes[:, p : p + 1] = grid.codes(w[:, p : p + 1])
        rounded[:, p : p + 1] = grid.values(codes[:, p : p + 1])
        error = (w[:, p] - rounded[:, p]) / factor[p, p]
        reached = w[:, p].clone()
        w[:, p:] -= torch.outer(error, factor[p, p:])
        w[:, p + 1 :] += torch.outer(reached, take_over[p, p + 1 :])

    change = torch.zeros_like(weights)
    change[:, order] = rounded
    change -= weights
    if not case.regroups:
        natural = torch.zeros_like(codes)
        natural[:, order] = codes
        codes = natural
    return {
        "order": order.tolist() if case.regroups and case.act_order else [],
        "codes": codes.to(torch.int64).flatten().tolist(),
        "error": float((change @ gram * change).sum()),
    }


# ---- The cases ----


def correlated_inputs(tokens: int, cols: int, seed: int) -> np.ndarray:
    """FP16 Z A: independent sources of decaying strength, mixed; channels of different size."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(tokens, cols)) * 0.93 ** np.arange(cols)
    mixed = sources @ rng.normal(size=(cols, cols)) / np.sqrt(cols)
    return (mixed * rng.uniform(0.3, 3, cols)).astype(np.float16)


def random_weights(rows: int, cols: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, (rows, cols)).astype(np.float16)


def all_cases() -> list[Case]:
    cases = []
    flags = product((False, True), (False, True), (False, True), ("row", "group"))
    for act_order, static_groups, symmetric, granularity in flags:
        if granularity == "row" and not static_groups:
            continue  # one grid a row in any case
        name = f"{granularity} {'sym' if symmetric else 'asym'}"
        name += " act_order" if act_order else ""
        name += " static" if static_groups and granularity == "group" else ""
        options = {"act_order": act_order, "static_groups": static_groups, "symmetric": symmetric}
        weights, bits = len(cases) % 2, 2 + len(cases) % 3
        cases.append(Case(name, 0, weights, bits, granularity, **options))
    for act_order, static_groups in ((True, True), (False, False)):
        options = {"act_order": act_order, "static_groups": static_groups, "symmetric": False}
        cases.append(Case(f"dead column {act_order}", 1, 0, 3, "group", **options))
        cases.append(Case(f"mse_clip {act_order}", 0, 1, 3, "group", mse_clip=True, **options))
    for act_order, static_groups in product((False, True), (False, True)):
        options = {"act_order": act_order, "static_groups": static_groups, "symmetric": act_order}
        name = f"short group {act_order} {static_groups}"
        cases.append(Case(name, 2, 2, 4, "group", group=SHORT_GROUP, **options))
    for act_order, static_groups, alpha in ((True, True, 0.25), (False, False, 1.0)):
        options = {"act_order": act_order, "static_groups": static_groups, "symmetric": False}
        options |= {"asymmetry": alpha, "reference": 3}
        cases.append(Case(f"asymmetric {alpha}", 0, 0, 3, "group", **options))
        cases.append(Case(f"asymmetric, dead column, {alpha}", 1, 1, 4, "row", **options))
    return cases


def doubles(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float64))


def patterns(values: np.ndarray) -> list[int]:
    return values.ravel().view(np.uint16).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)

    inputs = [correlated_inputs(TOKENS, COLS, seed) for seed in (1, 2)]
    inputs[1][:, 21] = 0
    inputs.append(correlated_inputs(SHORT_TOKENS, SHORT_COLS, 5))
    noise = correlated_inputs(TOKENS, COLS, 7)
    inputs.append((inputs[0] + np.float16(0.2) * noise).astype(np.float16))
    weights = [random_weights(ROWS, COLS, seed) for seed in (3, 4)]
    weights.append(random_weights(SHORT_ROWS, SHORT_COLS, 6))
    cases = [
        asdict(case)
        | gptq(
            doubles(weights[case.weights]),
            doubles(inputs[case.inputs]),
            case,
            doubles(inputs[case.reference if case.reference >= 0 else case.inputs]),
        )
        for case in all_cases()
    ]
    lists = {
        "inputs": [{"tokens": len(x), "channels": x.shape[1], "values": patterns(x)} for x in inputs],
        "weights": [{"rows": len(w), "cols": w.shape[1], "values": patterns(w)} for w in weights],
        "cases": cases,
    }
    blocks = [
        f'"{key}":[\n' + ",\n".join(json.dumps(one, separators=(",", ":")) for one in all_) + "\n]"
        for key, all_ in lists.items()
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("{" + ",\n".join(blocks) + "}\n")
    print(f"{args.out}: {len(cases)} cases, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
