"""Golden shapes of samples and rank correlations, computed by NumPy and SciPy in float64.

Usage: python3 scripts/goldens/weight_shapes.py   (writes eval/testdata/weight_shapes.json)

Each sample: float32 values, and of them mean, deviation (n - 1), kurtosis (scipy.stats.kurtosis), shares within 1, 2, 3
deviations, bulk (numpy.quantile), `kolmogorov` (scipy.stats.kstest against the normal distribution of that mean and
deviation), and `normal_distance` (the same midway between neighbouring values, and at both ends).
Each pair: two quantities, their scipy.stats.spearmanr, and the BCa interval of scipy.stats.bootstrap.
"""
import json
from pathlib import Path

import numpy as np
from scipy import stats

OUTPUT = Path(__file__).resolve().parents[2] / "eval/testdata/weight_shapes.json"


def shape_of(values: np.ndarray) -> dict:
    x = np.sort(values.astype(np.float64))
    mean, deviation = x.mean(), x.std(ddof=1)
    low, high = np.quantile(x, [0.005, 0.995])
    distinct = np.unique(x)
    middles = (distinct[1:] + distinct[:-1]) / 2
    shares = np.searchsorted(x, middles) / len(x)
    normal = stats.norm(mean, deviation)
    ends = max(normal.cdf(x[0]), normal.sf(x[-1]))
    return {
        "values": [float(v) for v in values],
        "distinct": len(distinct),
        "mean": mean,
        "deviation": deviation,
        "kurtosis": float(stats.kurtosis(x)),
        "within": [float((abs(x - mean) <= k * deviation).mean()) for k in (1, 2, 3)],
        "bulk": float((high - low) / (x[-1] - x[0])),
        "kolmogorov": float(stats.kstest(x, normal.cdf).statistic),
        "normal_distance": float(max(ends, abs(shares - normal.cdf(middles)).max())),
    }


def correlation_of(a: np.ndarray, b: np.ndarray) -> dict:
    rho = lambda x, y: stats.spearmanr(x, y).statistic
    interval = stats.bootstrap((a, b), rho, paired=True, vectorized=False, n_resamples=20000,
                               method="BCa", random_state=0).confidence_interval
    return {"a": a.tolist(), "b": b.tolist(), "rho": float(rho(a, b)), "low": float(interval.low),
            "high": float(interval.high)}


def main() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal(50), rng.laplace(size=60), rng.standard_normal(60).round(1),
               rng.uniform(2, 3, size=40), np.concatenate([rng.standard_normal(40), [25.0]])]
    first = rng.standard_normal(40)
    pairs = [(first, first + rng.standard_normal(40)), (first, -first + 0.3 * rng.laplace(size=40)),
             (first.round(), (first + rng.standard_normal(40)).round())]
    golden = {"samples": [shape_of(x.astype(np.float32)) for x in samples],
              "pairs": [correlation_of(a.round(3), b.round(3)) for a, b in pairs]}
    OUTPUT.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
