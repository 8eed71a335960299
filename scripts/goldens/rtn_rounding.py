"""Round-to-nearest quantization in numpy: the golden vectors of this project's rounding.

All arithmetic is float32; scales are stored as FP16 times 2^exponent, and the stored scale is what
rounds. With b = bits, over one group of weights:

  asymmetric  lo = min(w), hi = max(w), each taken together with 0 if zero_in_range
              scale = (hi - lo) / (2^b - 1)
              zero  = clamp(round(-lo / scale), 0, 2^b - 1)
              q     = clamp(round(w / scale) + zero, 0, 2^b - 1)
  symmetric   scale = absmax / (2^(b-1) - 1), q in [-(2^(b-1) - 1), 2^(b-1) - 1]
  full_range  scale = absmax / 2^(b-1),       q in [-2^(b-1),       2^(b-1) - 1]

Rounding is to nearest, ties to even. Where hi == lo, the range is widened to include 0; where the
stored scale is 0, the zero point and all codes are 0. The exponent is one for the matrix: 0 unless
a scale above 0 is below 2^-14, FP16's least normal number; then such that the least scale lies in
[2^-14, 2^-13) times 2^exponent, but not so that the largest leaves [2^11, 2^12) times 2^exponent.

The output is a JSON list with one case a line:
  name, bits, granularity (tensor, row, column or group), group (its size; 0 unless granularity is
  group), symmetric, full_range, zero_in_range, rows, cols
  weights  FP16 bit patterns, row-major
  codes    q of every weight, row-major, signed if symmetric
  exponent of the scales, 0 or less
  scales   FP16 bit patterns, one a group: by row, then along the row; by column for column
  zeros    zero points in the order of the scales, all 0 if symmetric
"""
import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "harness/quant/testdata/rounding.json"
GROUP = 32
BITS = range(2, 9)
FP16_TINIEST = 2.0**-24
LEAST_NORMAL, MOST_SHIFTED = -14, 11  # logarithms of scales


@dataclass(frozen=True)
class Scheme:
    bits: int
    symmetric: bool
    full_range: bool = False
    zero_in_range: bool = True

    @property
    def label(self) -> str:
        if self.symmetric:
            return f"sym{self.bits}" + ("_full" if self.full_range else "")
        return f"asym{self.bits}" + ("" if self.zero_in_range else "_free")


SCHEMES = [
    scheme
    for bits in BITS
    for scheme in (
        Scheme(bits, symmetric=False),
        Scheme(bits, symmetric=False, zero_in_range=False),
        Scheme(bits, symmetric=True),
        Scheme(bits, symmetric=True, full_range=True),
    )
]


# ---- The rounding ----


def stored_scale(wanted: np.float32, exponent: int) -> np.float32:
    """Rounded to FP16 times 2^exponent, as the float32 that it is used as."""
    return np.ldexp(np.float32(np.float16(np.ldexp(wanted, -exponent))), exponent)


def clamp(values: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.clip(values, low, high).astype(np.int64)


def span(w: np.ndarray, scheme: Scheme) -> tuple[np.float32, np.float32]:
    """The least and largest weight of an asymmetric group's range."""
    low, high = w.min(), w.max()
    if scheme.zero_in_range or low == high:
        low, high = min(low, np.float32(0)), max(high, np.float32(0))
    return low, high


def wanted_scale(w: np.ndarray, scheme: Scheme) -> np.float32:
    if scheme.symmetric:
        half = 2 ** (scheme.bits - 1)
        return np.abs(w).max() / np.float32(half if scheme.full_range else half - 1)
    low, high = span(w, scheme)
    return (high - low) / np.float32(2**scheme.bits - 1)


def choose_exponent(wanted: list[np.float32]) -> int:
    logs = [int(np.frexp(scale)[1]) - 1 for scale in wanted if scale > 0]
    if not logs or min(logs) >= LEAST_NORMAL:
        return 0
    return -max(0, min(LEAST_NORMAL - min(logs), MOST_SHIFTED - max(logs)))


def quantize_asymmetric(
    w: np.ndarray, scheme: Scheme, exponent: int
) -> tuple[np.ndarray, np.float32, int]:
    low, _ = span(w, scheme)
    top = 2**scheme.bits - 1
    scale = stored_scale(wanted_scale(w, scheme), exponent)
    if scale == 0:
        return np.zeros(len(w), np.int64), scale, 0
    zero = int(clamp(np.rint(-low / scale), 0, top))
    # The rounded quotients are integers below 2^24, where float32 addition is exact.
    return clamp(np.rint(w / scale) + np.float32(zero), 0, top), scale, zero


def quantize_symmetric(
    w: np.ndarray, scheme: Scheme, exponent: int
) -> tuple[np.ndarray, np.float32, int]:
    half = 2 ** (scheme.bits - 1)
    scale = stored_scale(wanted_scale(w, scheme), exponent)
    if scale == 0:
        return np.zeros(len(w), np.int64), scale, 0
    return clamp(np.rint(w / scale), -half if scheme.full_range else 1 - half, half - 1), scale, 0


def quantize_group(
    w: np.ndarray, scheme: Scheme, exponent: int
) -> tuple[np.ndarray, np.float32, int]:
    """float32 weights (n,) -> codes (n,), scale, zero point."""
    quantize = quantize_symmetric if scheme.symmetric else quantize_asymmetric
    return quantize(w, scheme, exponent)


def group_indices(rows: int, cols: int, granularity: str) -> np.ndarray:
    """Row-major positions of the weights of each group, (groups, weights a group)."""
    positions = np.arange(rows * cols).reshape(rows, cols)
    if granularity == "tensor":
        return positions.reshape(1, -1)
    if granularity == "column":
        return positions.T
    return positions.reshape(-1, GROUP) if granularity == "group" else positions


def quantize_matrix(weights: np.ndarray, scheme: Scheme, granularity: str) -> dict:
    """FP16 weights (rows, cols) -> codes, exponent, scales and zeros as the output holds them."""
    flat = weights.astype(np.float32).ravel()
    groups = group_indices(*weights.shape, granularity)
    exponent = choose_exponent([wanted_scale(flat[positions], scheme) for positions in groups])
    codes = np.zeros(flat.size, np.int64)
    scales, zeros = [], []
    for positions in groups:
        codes[positions], scale, zero = quantize_group(flat[positions], scheme, exponent)
        scales.append(int(np.float16(np.ldexp(scale, -exponent)).view(np.uint16)))
        zeros.append(zero)
    return {"codes": codes.tolist(), "exponent": exponent, "scales": scales, "zeros": zeros}


# ---- The weights ----


def exact_scale_range(scheme: Scheme, step: float) -> tuple[float, float]:
    """A range of weights whose scale is exactly `step`, a power of two."""
    half = 2 ** (scheme.bits - 1)
    if scheme.symmetric:
        extent = step * (half if scheme.full_range else half - 1)
        return -extent, extent
    return -step * (half - 1), step * half


def tied_weights(scheme: Scheme, rng: np.random.Generator) -> np.ndarray:
    """Weights half-way between two codes, and the two that fix the scale."""
    step = 2.0**-6
    low, high = exact_scale_range(scheme, step)
    w = (rng.integers(round(low / step), round(high / step), GROUP) + 0.5) * step
    w[:2] = low, high
    return w


def tied_zero_point(scheme: Scheme, rng: np.random.Generator) -> np.ndarray:
    """-lo / scale is half-way between two zero points where the scheme has one."""
    step = 2.0**-6
    low, high = exact_scale_range(scheme, step)
    w = rng.integers(round(low / step), round(high / step) + 1, GROUP) * step
    w[:2] = low, high
    return w - step / 2


def vanishing_scale(scheme: Scheme, rng: np.random.Generator) -> np.ndarray:
    """The smallest FP16 numbers: from some width on their scale rounds to 0 in FP16 alone."""
    return rng.choice([-FP16_TINIEST, 0.0, FP16_TINIEST], GROUP)


def special_vectors(scheme: Scheme) -> dict[str, np.ndarray]:
    """Named FP16 vectors of GROUP weights; the same for every granularity of a scheme."""
    rng = np.random.default_rng([scheme.bits, scheme.symmetric, scheme.full_range])
    normal = rng.normal(0, 0.05, (4, GROUP))
    signed_zeros = np.where(np.arange(GROUP) % 3 == 0, -0.0, 0.0)
    outlier = rng.normal(0, 0.05, GROUP)
    outlier[5] = -60.0
    largest = rng.uniform(-1, 1, GROUP) * 65504.0
    largest[:2] = -65504.0, 65504.0
    vectors = {
        "normal": normal[0],
        "all_zero": signed_zeros,
        "constant_positive": np.full(GROUP, 0.3),
        "constant_negative": np.full(GROUP, -0.7),
        "all_positive": np.abs(normal[1]) + 0.01,
        "all_negative": -np.abs(normal[2]) - 0.01,
        "outlier": outlier,
        "ties": tied_weights(scheme, rng),
        "zero_point_tie": tied_zero_point(scheme, rng),
        "subnormal": rng.normal(0, 200, GROUP).round() * FP16_TINIEST,
        "vanishing_scale": vanishing_scale(scheme, rng),
        "largest": largest,
    }
    return {name: values.astype(np.float16) for name, values in vectors.items()}


# ---- The cases ----


def matrices(scheme: Scheme) -> list[tuple[str, str, np.ndarray]]:
    """(granularity, name suffix, FP16 weights): every special vector as a group of each kind."""
    vectors = special_vectors(scheme)
    stacked = np.stack(list(vectors.values()))
    result = [
        ("group", "", stacked.reshape(-1, 2 * GROUP)),
        ("row", "", stacked),
        ("column", "", np.ascontiguousarray(stacked.T)),
    ]
    # One extreme vector would blot out the others in a scale for all, so each is a tensor alone.
    result += [("tensor", f"_{name}", w.reshape(4, -1)) for name, w in vectors.items()]
    return result


def case(scheme: Scheme, granularity: str, suffix: str, weights: np.ndarray) -> dict:
    rows, cols = weights.shape
    return {
        "name": f"{scheme.label}_{granularity}{suffix}",
        "granularity": granularity,
        "group": GROUP if granularity == "group" else 0,
        **asdict(scheme),
        "rows": rows,
        "cols": cols,
        "weights": weights.ravel().view(np.uint16).tolist(),
        **quantize_matrix(weights, scheme, granularity),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    cases = [case(scheme, *matrix) for scheme in SCHEMES for matrix in matrices(scheme)]
    lines = [json.dumps(entry, separators=(",", ":")) for entry in cases]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{args.out}: {len(cases)} cases, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
