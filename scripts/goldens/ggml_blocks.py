#!/usr/bin/env python3
"""Blocks of GGUF files and what Python's gguf decodes them to.

Needs numpy and gguf (PyPI, 0.19). Writes harness/quant/testdata/ggml_blocks.json:

{"Q4_K": {"blocks": hex of blocks of random bits, whose scales are finite,
          "first": [8 FP32 numbers], "sha256": of all values as little-endian FP32}, ...}
"""

import hashlib
import json
import pathlib

import gguf
import numpy as np

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
         "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4", "TQ1_0", "TQ2_0"]
# Where FP16 numbers stand in a block.
HALVES = {"F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
          "TQ1_0": [52], "TQ2_0": [64]}


def finite_halves(rng, count):
    """Any finite pattern: subnormal, negative and large ones too."""
    bits = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    return np.where(bits & 0x7C00 == 0x7C00, bits & 0x83FF, bits).astype("<u2")


def make_blocks(name, rng):
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    count = {1: 64, 32: 16, 64: 8, 256: 4}[elements]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if name in ("F32", "BF16"):
        kind = "<f4" if name == "F32" else "<u2"
        numbers = rng.standard_normal(count).astype("<f4")
        blocks = (numbers if kind == "<f4" else (numbers.view("<u4") >> 16).astype(kind)).view(np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = [0, 1, 2, 100, 127, 128, 200, 251] * 2
    if name == "NVFP4":
        blocks[0, :4] = [0x00, 0x01, 0x7E, 0x7F]
    blocks = blocks.reshape(count, size)
    for place in HALVES.get(name, []):
        blocks[:, place:place + 2] = finite_halves(rng, count).reshape(count, 1).view(np.uint8)
    return blocks


def main():
    rng = np.random.default_rng(7)
    goldens = {}
    for name in TYPES:
        blocks = make_blocks(name, rng)
        values = gguf.dequantize(blocks, gguf.GGMLQuantizationType[name]).astype("<f4").ravel()
        goldens[name] = {
            "blocks": blocks.tobytes().hex(),
            "first": [float(value) for value in values[:8]],
            "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
        }
    path = pathlib.Path(__file__).resolve().parents[2] / "harness/quant/testdata/ggml_blocks.json"
    path.write_text(json.dumps(goldens, indent=1) + "\n")


if __name__ == "__main__":
    main()
