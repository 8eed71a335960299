#!/usr/bin/env python3
"""What other tools make of weights in each number format: codes, scales and decoded values.

Needs numpy, PyTorch, bitsandbytes 0.50 (NF4, FP4 and double quantization, on the CPU), gguf 0.19 (MXFP4), ml_dtypes 0.6
(FP8, E2M1, E4M3 and E8M0) and compressed-tensors 0.20 (NVFP4); float_zero and ternary are a few lines of numpy after
HQQ's and BitNet's. Writes harness/quant/testdata/formats.json:

{"dynamic_map": SHA-256 of bitsandbytes' map, little-endian FP32,
 "formats":
[{"format": ..., "bits", "granularity", "group" (with granularity group), "double_quant", "rows", "cols",
  "codes": SHA-256 of one byte a weight, row by row,
  "scales": SHA-256 of the scales that values are products of, little-endian FP32,
  "stored": SHA-256 of the scales as they are stored,
  "frame": FP32 numbers that all scales are relative to, as patterns,
  "zeros": SHA-256 of FP16 numbers (float_zero),
  "values": SHA-256 of the decoded weights, little-endian FP32, -0 as 0; "first": the first 8 of them}, ...]}

The weights are those of `weights`, which the test makes again.
"""

import hashlib
import json
import pathlib
import sys

import gguf
import ml_dtypes
import numpy as np
import torch
from bitsandbytes import functional as bnb

F = np.float32


def hashed(i):
    h = (i.astype(np.uint64) * 2654435761 + 12345).astype(np.uint32)
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        h = ((h ^ (h >> np.uint32(shift))).astype(np.uint64) * factor).astype(np.uint32)
    h ^= h >> np.uint32(16)
    return ((h >> np.uint32(8)).astype(np.int64) - (1 << 23)).astype(F) * F(2.0**-23)


def weights(rows, cols):
    """Products of hashes in FP32; rows of four sizes; the first 64 weights of row 5 are 0."""
    at = np.arange(rows * cols, dtype=np.int64)
    u, v = hashed(at), hashed(at + rows * cols)
    w = (u * v * v).reshape(rows, cols)
    w *= (F(0.5) ** (np.arange(rows) % 4).astype(F)).reshape(rows, 1)
    w[5, :64] = 0
    return w


def sha(array, dtype):
    return hashlib.sha256(np.ascontiguousarray(array, dtype=dtype).tobytes()).hexdigest()


def entry(name, bits, w, codes, scales, stored, values, *, group=None, granularity="group", double_quant=False,
          frame=(), zeros=None):
    values = np.asarray(values, F).reshape(w.shape) + F(0)
    golden = {"format": name, "bits": bits, "granularity": granularity}
    if group:
        golden["group"] = group
    golden |= {"double_quant": double_quant, "rows": w.shape[0], "cols": w.shape[1], "codes": sha(codes, np.uint8),
               "scales": sha(scales, "<f4"), "stored": sha(stored, stored.dtype),
               "frame": np.asarray(frame, "<f4").view("<u4").tolist(), "values": sha(values, "<f4"),
               "first": values.ravel()[:8].astype(float).tolist()}
    if zeros is not None:
        golden["zeros"] = sha(zeros, "<f2")
    return golden


def of_bitsandbytes(name, group, double_quant):
    w = weights(80, 256)
    packed, state = bnb.quantize_4bit(torch.from_numpy(w), blocksize=group, quant_type=name)
    absmax, frame, stored = state.absmax.numpy(), (), state.absmax.numpy()
    if double_quant:
        # torch sums in FP32, in an order of its own; the mean here is that of float64.
        offset = F(absmax.astype(np.float64).mean())
        assert abs(float(state.absmax.mean()) - offset) <= 2 * np.spacing(offset)
        nested, nested_state = bnb.quantize_blockwise(torch.from_numpy(absmax - offset), blocksize=256)
        # The CPU's kernel looks quotients up in coarse steps; here none lies so near a midpoint that the GPU's would
        # give another code.
        numbers = bnb.create_dynamic_map()
        wide = nested_state.absmax.repeat_interleave(256)[:len(absmax)]
        exact = torch.bucketize(torch.from_numpy(absmax - offset) * (1 / wide), (numbers[:-1] + numbers[1:]) / 2)
        assert torch.equal(exact.to(torch.uint8), nested)
        state.absmax, state.state2, state.nested = nested, nested_state, True
        state.offset = torch.tensor(offset)
        stored, frame = nested.numpy(), [offset, *nested_state.absmax.numpy()]
        scales = bnb.dequantize_blockwise(nested, nested_state).numpy() + offset
        absmax = scales
    values = bnb.dequantize_4bit(packed, state).numpy()
    bytes_ = packed.numpy().ravel()
    codes = np.stack([bytes_ >> 4, bytes_ & 15], axis=1).ravel()
    if name == "fp4":
        codes = np.where(codes == 8, 0, codes)  # of the two zeros
    return entry(name, 4, w, codes, absmax, stored, values, group=group, double_quant=double_quant, frame=frame)


def of_gguf():
    w = weights(24, 96)
    kind = gguf.GGMLQuantizationType.MXFP4
    blocks = gguf.quantize(w, kind).reshape(-1, 17)
    values = gguf.dequantize(blocks, kind)
    codes = np.concatenate([blocks[:, 1:] & 15, blocks[:, 1:] >> 4], axis=1)
    scales = blocks[:, 0].view(ml_dtypes.float8_e8m0fnu).astype(F)
    # E2M1's own rounding, ties to even: the data has no ties, for which gguf has another rule.
    casts = (w.reshape(-1, 32) / scales.reshape(-1, 1)).astype(ml_dtypes.float4_e2m1fn)
    assert np.array_equal(casts.astype(F) * scales.reshape(-1, 1), values.reshape(-1, 32))
    return entry("mxfp4", 4, w, codes, scales, blocks[:, 0], values, group=32)


def of_compressed_tensors():
    from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy, QuantizationType
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
    w = weights(24, 96)
    tensor = torch.from_numpy(w)
    args = QuantizationArgs(num_bits=4, type=QuantizationType.FLOAT, strategy=QuantizationStrategy.TENSOR_GROUP,
                            symmetric=True, dynamic=False, group_size=16, scale_dtype=torch.float8_e4m3fn,
                            zp_dtype=torch.float8_e4m3fn)
    divisor = generate_gparam(tensor.min(), tensor.max())
    groups = tensor.reshape(24, -1, 16)
    scales, zeros = calculate_qparams(groups.amin(-1), groups.amax(-1), args, divisor)
    levels = quantize(tensor, scales, None, args, global_scale=divisor)
    values = dequantize(levels, scales, None, args, global_scale=divisor).numpy()
    magnitudes = np.array([0, .5, 1, 1.5, 2, 3, 4, 6], F)
    levels = levels.float().numpy()
    codes = np.searchsorted(magnitudes, np.abs(levels)) + np.where(levels < 0, 8, 0)
    stored = scales.to(torch.float8_e4m3fn).view(torch.uint8).numpy()
    # A scale that rounds to 0 is 0.125 there, and all codes are 0 either way.
    empty = np.abs(codes.reshape(-1, 16)).max(-1).reshape(stored.shape) == 0
    stored = np.where(empty, 0, stored).astype(np.uint8)
    decoded = stored.view(ml_dtypes.float8_e4m3fn).astype(F) / divisor.numpy()
    assert np.array_equal((magnitudes[codes & 7] * np.where(codes & 8, -1, 1)).astype(F).reshape(-1, 16)
                          * decoded.reshape(-1, 1), values.reshape(-1, 16))
    return entry("nvfp4", 4, w, codes, decoded, stored, values, group=16, frame=divisor.numpy())


def grouped(w, granularity, group):
    rows, cols = w.shape
    return w.reshape({"group": (rows * cols // (group or 1), group), "row": (rows, cols), "tensor": (1, rows * cols)}[granularity])


def of_float8(name, granularity, group=None):
    w = weights(24, 96)
    kind, largest = {"fp8_e4m3": (ml_dtypes.float8_e4m3fn, 448), "fp8_e5m2": (ml_dtypes.float8_e5m2, 57344)}[name]
    blocks = grouped(w, granularity, group)
    scales = np.abs(blocks).max(-1) / F(largest)
    with np.errstate(invalid="ignore"):
        quotients = np.where(scales[:, None] > 0, blocks / scales[:, None], F(0))
    codes = np.clip(quotients, -largest, largest).astype(kind)
    bytes_ = codes.view(np.uint8)
    bytes_ = np.where(bytes_ == 0x80, 0, bytes_)  # of the two zeros
    return entry(name, 8, w, bytes_, scales, scales, codes.astype(F) * scales[:, None], group=group,
                 granularity=granularity)


def of_hqq(bits, group):
    """HQQ's first guess (quantize.py): from the smallest weight of a group to the largest, the zero not rounded to a code."""
    w = weights(24, 96)
    blocks, top = grouped(w, "group", group), F(2**bits - 1)
    lo, hi = blocks.min(-1), blocks.max(-1)
    scales = ((hi - lo) / top).astype(np.float16)
    wide = scales.astype(F)
    with np.errstate(invalid="ignore"):
        zeros = np.where(wide > 0, -lo / wide, F(0)).astype(np.float16)
        codes = np.where(wide[:, None] > 0, np.rint(blocks / wide[:, None] + zeros.astype(F)[:, None]), F(0))
    codes = np.clip(codes, 0, top)
    values = wide[:, None] * (codes - zeros.astype(F)[:, None])
    return entry("float_zero", bits, w, codes, wide, scales, values, group=group, zeros=zeros)


def of_bitnet(granularity, group=None):
    """BitNet b1.58's absmean: RoundClip(W / gamma, -1, 1) with gamma = mean |W|, stored in FP16."""
    w = weights(24, 96)
    blocks = grouped(w, granularity, group)
    scales = np.abs(blocks).astype(np.float64).mean(-1).astype(F).astype(np.float16)
    wide = scales.astype(F)
    with np.errstate(invalid="ignore"):
        levels = np.where(wide[:, None] > 0, np.clip(np.rint(blocks / wide[:, None]), -1, 1), F(0))
    codes = levels.astype(np.int8).view(np.uint8) & 3
    return entry("ternary", 2, w, codes, wide, scales, levels * wide[:, None], group=group, granularity=granularity)


def main():
    goldens = [of_bitsandbytes(name, group, double_quant)
               for name in ("nf4", "fp4") for group in (32, 64, 128) for double_quant in (False, True)]
    goldens += [of_gguf(), of_compressed_tensors()]
    goldens += [of_float8(name, *reach) for name in ("fp8_e4m3", "fp8_e5m2")
                for reach in (("row",), ("tensor",), ("group", 32))]
    goldens += [of_hqq(bits, group) for bits, group in ((2, 16), (3, 32), (4, 32), (8, 96))]
    goldens += [of_bitnet("tensor"), of_bitnet("row"), of_bitnet("group", 32)]
    path = pathlib.Path(__file__).resolve().parents[2] / "harness/quant/testdata/formats.json"
    (pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else path).write_text(
        '{"dynamic_map": "' + sha(bnb.create_dynamic_map().numpy(), "<f4") + '",\n"formats": [\n'
        + ",\n".join(json.dumps(golden) for golden in goldens) + "\n]}\n")


if __name__ == "__main__":
    main()
