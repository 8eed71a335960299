"""Golden rows for the comparison of two models' logits, computed by NumPy in float64.

Usage: python3 scripts/goldens/divergence.py   (writes eval/testdata/divergence.json)

Each row: reference and model logits (float32 values), the target token, and expected nll (of the model), kl =
KL(reference || model) in nats, probability_change of the target (model minus reference), same_top.
"""
import json
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).resolve().parents[2] / "eval/testdata/divergence.json"


def log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max()
    return shifted - np.log(np.exp(shifted).sum())


def make_row(rng: np.random.Generator, size: int, scale: float, noise: float) -> dict:
    reference = (scale * rng.standard_normal(size)).astype(np.float32)
    model = (reference + noise * rng.standard_normal(size)).astype(np.float32)
    target = int(rng.integers(size))
    log_p, log_q = log_softmax(reference), log_softmax(model)
    return {
        "reference": [float(x) for x in reference],
        "model": [float(x) for x in model],
        "target": target,
        "nll": -log_q[target],
        "kl": float((np.exp(log_p) * (log_p - log_q)).sum()),
        "probability_change": float(np.exp(log_q[target]) - np.exp(log_p[target])),
        "same_top": bool(reference.argmax() == model.argmax()),
    }


def main() -> None:
    rng = np.random.default_rng(0)
    rows = [make_row(rng, size, scale, noise)
            for size in (3, 17, 333) for scale, noise in ((1, 0.5), (5, 0.05), (12, 2.0))]
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
