"""Reads and writes safetensors checkpoints with numpy alone.

A safetensors file is a little-endian uint64 header length, a JSON header that gives each tensor's
dtype, shape and byte range, and the tensors' bytes. Written from the format's description rather
than on top of its library, so that the reference figures share no code with what they check.
"""
import json
import struct
from pathlib import Path

import numpy as np

# BF16 has no numpy type: its bit patterns travel as uint16.
STORAGE = {"F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "F32": np.dtype("<f4")}


def bf16_bits_to_f32(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def f32_to_bf16_bits(values: np.ndarray) -> np.ndarray:
    """Rounds finite float32 values to the nearest BF16, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def decode(raw: bytes, dtype: str, shape: list[int]) -> np.ndarray:
    """Stored bytes -> float64, which holds every F16, BF16 and F32 value exactly."""
    stored = np.frombuffer(raw, STORAGE[dtype])
    values = bf16_bits_to_f32(stored) if dtype == "BF16" else stored
    return values.astype(np.float64).reshape(shape)


def encode(values: np.ndarray, dtype: str) -> bytes:
    """Float values -> bytes as stored, rounded to the nearest representable value."""
    stored = f32_to_bf16_bits(values) if dtype == "BF16" else values.astype(STORAGE[dtype])
    return np.ascontiguousarray(stored).tobytes()


def read_file(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        (header_size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_size))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = decode(data[begin:end], entry["dtype"], entry["shape"])
    return tensors


def read_checkpoint(model_dir: Path) -> dict[str, np.ndarray]:
    """All tensors of model.safetensors, or of the shards that its index.json names."""
    index = model_dir / "model.safetensors.index.json"
    if not index.exists():
        return read_file(model_dir / "model.safetensors")
    shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    tensors = {}
    for shard in shards:
        tensors.update(read_file(model_dir / shard))
    return tensors


def write_file(path: Path, tensors: dict[str, np.ndarray], dtype: str) -> int:
    """Writes the tensors in name order, all as `dtype`; returns the number of data bytes."""
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    blobs = []
    offset = 0
    for name in sorted(tensors):
        blob = encode(tensors[name], dtype)
        header[name] = {
            "dtype": dtype,
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data starts 8-byte aligned
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return offset
