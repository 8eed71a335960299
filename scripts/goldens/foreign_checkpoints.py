#!/usr/bin/env python3
"""Tiny checkpoints as other tools write them, and what each tool's own decoder makes of them.

Needs numpy, PyTorch, transformers, accelerate, safetensors, compressed-tensors 0.20, bitsandbytes 0.50, and the files of
auto-gptq 0.7.1 and autoawq 0.2.9 (pip install --no-deps; what is used of them runs on a CPU, though neither package can be
imported as a whole any more). Each tool makes its files and decodes them, in FP32; but for GPTQ's second version, whose
zeros are one more than AutoGPTQ's, gemv's values, which AutoAWQ decodes on GPUs only, and FP8, which are formulas here.

Writes harness/formats/testdata/KIND/{config.json, model.safetensors} and, for all of them,
harness/formats/testdata/expected.json:

{KIND: [{"name": of the matrix, "rows", "cols", "type": as tables show it,
  "packed": whether a PackedMatrix holds it,
  "codes": SHA-256 of one byte a weight, row by row (affine ones),
  "values": SHA-256 of the decoded weights, little-endian FP32, -0 as 0; "first": the first 8 of them}, ...]}
"""

import hashlib
import importlib
import importlib.util
import json
import pathlib
import shutil
import sys
import types

import numpy as np
import torch
from bitsandbytes import functional as bnb
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.torch import save_file

F = np.float32
NAME = "model.layers.{}.self_attn.q_proj"


def weights(rows, cols, seed):
    generator = np.random.default_rng(seed)
    w = generator.standard_normal((rows, cols)).astype(F) * F(0.05)
    return (w * (F(0.5) ** (np.arange(rows) % 4).astype(F)).reshape(rows, 1)).astype(np.float16).astype(F)


def sha(array, dtype):
    return hashlib.sha256(np.ascontiguousarray(array, dtype=dtype).tobytes()).hexdigest()


def module_of(name):
    """A module of an installed package whose __init__ files are left out."""
    parts = name.split(".")
    root = sys.modules.get(parts[0])
    found = root.__path__ if root else importlib.util.find_spec(parts[0]).submodule_search_locations
    path = pathlib.Path(found[0])
    for i in range(1, len(parts)):
        package = types.ModuleType(".".join(parts[:i]))
        package.__path__ = [str(path.joinpath(*parts[1:i]))]
        sys.modules.setdefault(package.__name__, package)
    return importlib.import_module(name)


class Kind:
    """One checkpoint: its settings, tensors and expectations."""

    def __init__(self, settings):
        self.settings, self.tensors, self.expected = settings, {}, []

    def add(self, tensors, values, kind, packed, codes=None):
        name = NAME.format(len(self.expected))
        for part, tensor in tensors.items():
            self.tensors[f"{name}.{part}"] = torch.as_tensor(tensor).contiguous()
        values = np.asarray(values, F) + F(0)
        entry = {"name": name, "rows": values.shape[0], "cols": values.shape[1], "type": kind, "packed": packed}
        if codes is not None:
            entry["codes"] = sha(codes, np.uint8)
        entry |= {"values": sha(values, "<f4"), "first": values.ravel()[:8].astype(float).tolist()}
        self.expected.append(entry)
        return self


# ---- GPTQ ----


def affine(w, bits, group, symmetric):
    """Scales in FP16, zeros and codes, by (rows, groups), as the GPTQ authors' quantizer finds them."""
    rows, cols = w.shape
    group = cols if group == -1 else group
    most = 2**bits - 1
    scales, zeros, codes = [], [], np.zeros((rows, cols), np.int64)
    for begin in range(0, cols, group):
        part = w[:, begin:begin + group]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        if symmetric:
            high = np.maximum(np.abs(low), high)
            low = -high
        scale = ((high - low) / F(most)).astype(np.float16).astype(F)
        zero = np.full(rows, (most + 1) // 2) if symmetric else np.clip(np.rint(-low / scale), 0, most)
        codes[:, begin:begin + group] = np.clip(np.rint(part / scale[:, None]) + zero[:, None], 0, most)
        scales.append(scale)
        zeros.append(zero)
    return np.stack(scales, 1), np.stack(zeros, 1).astype(np.int64), codes


def autogptq(w, scales, zeros, bits, group, g_idx):
    """The tensors that AutoGPTQ packs, and the weights that its own forward multiplies."""
    cuda = module_of("auto_gptq.nn_modules.qlinear.qlinear_cuda")
    rows, cols = w.shape
    module = cuda.QuantLinear(bits, group, cols, rows, False, weight_dtype=torch.float32)
    linear = torch.nn.Linear(cols, rows, bias=False)
    linear.weight.data = torch.from_numpy(w)
    module.pack(linear, torch.from_numpy(scales), torch.from_numpy(zeros.astype(F)), torch.from_numpy(g_idx).int())
    values = module(torch.eye(cols)).T.contiguous().numpy()
    return {part: getattr(module, part) for part in ("qweight", "qzeros", "scales", "g_idx")}, values


def plus_one_of_3_bits(words):
    """Of the stream of 32 numbers in three words."""
    out = []
    for row in words.numpy().view(np.uint32).reshape(words.shape[0], -1, 3):
        for three in row:
            stream = sum(int(word) << 32 * i for i, word in enumerate(three)) + sum(1 << 3 * i for i in range(32))
            out += [stream >> 32 * i & 0xffffffff for i in range(3)]
    return torch.from_numpy(np.array(out, np.uint32).view(np.int32).reshape(words.shape))


def gptq(bits, group, symmetric, version, order=False, rows=32, cols=128, scale_type=torch.float16):
    settings = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": order, "sym": symmetric,
                "checkpoint_format": version}
    w = weights(rows, cols, bits + (1 if order else 0))
    size = cols if group == -1 else group
    g_idx = np.arange(cols) // size
    if order:  # act-order: the group of an input by its place among the largest
        place = np.argsort(np.random.default_rng(7).permutation(cols))
        g_idx = place // size
    by_group = np.argsort(g_idx, kind="stable")
    scales, zeros, sorted_codes = affine(w[:, by_group], bits, group, symmetric)
    codes = np.empty_like(sorted_codes)
    codes[:, by_group] = sorted_codes
    values = scales[:, g_idx] * (codes - zeros[:, g_idx]).astype(F)
    tensors, decoded = autogptq(values, scales, zeros, bits, group, g_idx)
    assert np.array_equal(decoded, values)
    tensors["scales"] = tensors["scales"].to(scale_type)
    if version == "gptq_v2":  # fields of the first version's zeros, none of which is full, plus 1
        ones = sum(1 << bits * i for i in range(32 // bits)) if bits != 3 else None
        plus = torch.tensor([ones], dtype=torch.uint32).view(torch.int32) if ones else None
        tensors["qzeros"] = tensors["qzeros"] + plus if ones else plus_one_of_3_bits(tensors["qzeros"])
    reach = "row" if group == -1 else f"g{group}"
    name = f"int{bits} {reach} " + ("sym full" if symmetric else "asym")
    return Kind(settings).add(tensors, values, name, True, codes)


# ---- AWQ ----


def awq(version, group, rows=32, cols=256):
    w = weights(rows, cols, group)
    # AutoAWQ's pseudo_quantize_tensor: the range need not hold 0, zeros are cut to the codes.
    parts = w.reshape(rows, -1, group)
    high, low = parts.max(2), parts.min(2)
    scales = (np.maximum(high - low, F(1e-5)) / F(15)).astype(np.float16).astype(F)
    zeros = np.clip(-np.rint(low / scales), 0, 15).astype(np.int64)
    codes = np.clip(np.rint(parts / scales[..., None]) + zeros[..., None], 0, 15).astype(np.int64).reshape(rows, cols)
    values = np.repeat(scales, group, 1) * (codes - np.repeat(zeros, group, 1)).astype(F)
    linear = torch.nn.Linear(cols, rows, bias=False)
    linear.weight.data = torch.from_numpy(values)
    factors = torch.from_numpy(scales), torch.from_numpy(zeros.astype(F))
    if version == "gemm":
        gemm = module_of("awq.modules.linear.gemm")
        module = gemm.WQLinear_GEMM.from_linear(linear, 4, group, False, *(f.T.contiguous() for f in factors))
        decoded = gemm.dequantize_gemm(module.qweight, module.qzeros, module.scales.float(), 4, group).T.numpy()
        assert np.array_equal(decoded, values)
    else:
        module = module_of("awq.modules.linear.gemv").WQLinear_GEMV.from_linear(linear, 4, group, False, *factors)
    tensors = {part: getattr(module, part) for part in ("qweight", "qzeros", "scales")}
    settings = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": version}
    return Kind(settings).add(tensors, values, f"int4 g{group} asym min-max", True, codes)


# ---- compressed-tensors ----


def qparams(w, args):
    if args.strategy == "tensor":
        parts = w.reshape(1, -1)
    elif args.strategy == "channel":
        parts = w
    elif args.strategy == "block":
        high, wide = args.block_structure
        down, across = -(-w.shape[0] // high), -(-w.shape[1] // wide)
        whole = torch.zeros(down * high, across * wide)
        whole[:w.shape[0], :w.shape[1]] = w
        parts = whole.reshape(down, high, across, wide).transpose(1, 2).reshape(down, across, -1)
    else:
        parts = w.reshape(w.shape[0], -1, args.group_size)
    return parts.amin(-1, keepdim=args.strategy == "channel"), parts.amax(-1, keepdim=args.strategy == "channel")


def compressed(form, kind, packed, dtype, inputs=None, extra=None, rows=32, cols=128, **weight_args):
    args = QuantizationArgs(**weight_args)
    scheme = QuantizationScheme(targets=["Linear"], weights=args, format=form,
                                input_activations=QuantizationArgs(**inputs) if inputs else None)
    config = QuantizationConfig(config_groups={"group_0": scheme}, format=form, quantization_status="compressed",
                                ignore=["lm_head"])
    w = torch.from_numpy(weights(rows, cols, rows + cols + args.num_bits))
    state = {"weight": w}
    global_scale = None
    if args.strategy == "tensor_group":
        global_scale = state["weight_global_scale"] = generate_gparam(w.amin().reshape(1), w.amax().reshape(1))
    scale, zero = calculate_qparams(*qparams(w, args), args, global_scale=global_scale)
    # Scales are what the file will hold before codes are made of them.
    state["weight_scale"] = scale.to(dtype).float() if dtype.itemsize > 1 else scale
    if not args.symmetric:
        state["weight_zero_point"] = zero.to(torch.int8)
    compressor = BaseCompressor.get_value_from_registry(form)
    tensors = compressor.compress(state, scheme)
    if tensors["weight_scale"].dtype == torch.float32:
        tensors["weight_scale"] = tensors["weight_scale"].to(dtype)
    codes = None
    if form in ("nvfp4-pack-quantized", "mxfp4-pack-quantized"):  # its own decompress() ends in BF16
        levels = unpack_fp4_from_uint8(tensors["weight_packed"], rows, cols, dtype=torch.float32)
        scales = compressor._decompress_scale(tensors["weight_scale"], torch.float32)
        values = dequantize(levels, scales, args=args, global_scale=global_scale, dtype=torch.float32)
    else:
        wide = dict(tensors)
        if wide["weight_scale"].dtype != torch.uint8:
            wide["weight_scale"] = wide["weight_scale"].float()
        values = compressor.decompress(wide, scheme)["weight"].float()
    tensors |= extra or {}
    settings = json.loads(config.model_dump_json())
    return Kind(settings).add(tensors, values.numpy(), kind, packed, codes)


INT8_TOKEN = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
FP8_TOKEN = INT8_TOKEN | {"type": "float"}
FP8_STATIC = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False}
NVFP4_LOCAL = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16,
               "dynamic": "local", "scale_dtype": torch.float8_e4m3fn}


def of_compressed_tensors():
    half, bfloat = torch.float16, torch.bfloat16
    pack, int_, float_ = "pack-quantized", "int-quantized", "float-quantized"
    yield "ct_pack4_sym", compressed(pack, "int4 g32 sym full", True, bfloat, num_bits=4, strategy="group", group_size=32)
    yield "ct_pack4_asym", compressed(pack, "int4 g64 asym", True, half, num_bits=4, strategy="group", group_size=64,
                                      symmetric=False, rows=44)
    yield "ct_pack3_channel_asym", compressed(pack, "int3 row asym", True, half, num_bits=3, strategy="channel",
                                              symmetric=False, rows=44, cols=72)
    yield "ct_pack8_a8", compressed(pack, "int8 g128 sym full", True, bfloat, INT8_TOKEN, num_bits=8, strategy="group",
                                    group_size=128)
    yield "ct_int8", compressed(int_, "int8 row sym full", True, bfloat, INT8_TOKEN, num_bits=8, strategy="channel")
    yield "ct_int8_asym", compressed(int_, "int8 row asym", True, half, INT8_TOKEN, num_bits=8, strategy="channel",
                                     symmetric=False)
    yield "ct_int8_static", compressed(int_, "int8 tensor sym full", True, half, INT8_TOKEN |
                                       {"strategy": "tensor", "dynamic": False}, {"input_scale": torch.tensor([0.031])},
                                       num_bits=8, strategy="tensor")
    yield "ct_fp8_channel", compressed(float_, "fp8_e4m3 row", True, bfloat, FP8_TOKEN, num_bits=8, type="float",
                                       strategy="channel")
    yield "ct_fp8_static", compressed(float_, "fp8_e4m3 tensor", True, torch.float32, FP8_STATIC,
                                      {"input_scale": torch.tensor([0.011])}, num_bits=8, type="float",
                                      strategy="tensor")
    yield "ct_fp8_block", compressed(float_, "fp8_e4m3 block 16x48", False, bfloat, FP8_TOKEN |
                                     {"strategy": "group", "group_size": 128}, num_bits=8, type="float",
                                     strategy="block", block_structure=[16, 48])
    yield "ct_nvfp4", compressed("nvfp4-pack-quantized", "nvfp4 g16", True, torch.float8_e4m3fn, num_bits=4,
                                 type="float", strategy="tensor_group", group_size=16,
                                 scale_dtype=torch.float8_e4m3fn)
    yield "ct_nvfp4_a4", compressed("nvfp4-pack-quantized", "nvfp4 g16", True, torch.float8_e4m3fn, NVFP4_LOCAL,
                                    {"input_global_scale": torch.tensor([672.0])}, num_bits=4, type="float",
                                    strategy="tensor_group", group_size=16, scale_dtype=torch.float8_e4m3fn)
    yield "ct_mxfp4", compressed("mxfp4-pack-quantized", "mxfp4 g32", True, torch.uint8, num_bits=4, type="float",
                                 strategy="group", group_size=32, scale_dtype=torch.uint8)
    yield "ct_mxfp8", compressed("mxfp8-quantized", "fp8_e4m3 g32", True, torch.uint8, num_bits=8, type="float",
                                 strategy="group", group_size=32, scale_dtype=torch.uint8)


# ---- bitsandbytes, FP8 ----


def bnb4(quant_type, nested, rows, cols, packed, name):
    w = torch.from_numpy(weights(rows, cols, cols))
    codes, state = bnb.quantize_4bit(w, blocksize=64, quant_type=quant_type, compress_statistics=nested)
    tensors = {"weight": codes} | {f"weight.{key}": value for key, value in state.as_dict(packed=True).items()}
    # As one row: by rows bitsandbytes 0.50 decodes blocks that run on into the next row wrongly on CPUs with AVX-512.
    state.shape = torch.Size([1, rows * cols])
    values = bnb.dequantize_4bit(codes, state).float().reshape(rows, cols).numpy()
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
                "bnb_4bit_quant_type": quant_type, "bnb_4bit_use_double_quant": nested, "llm_int8_threshold": 6.0}
    return Kind(settings).add(tensors, values, name, packed)


def bnb8(threshold):
    w = torch.from_numpy(weights(32, 96, 8)).half()
    codes, absmax, _ = bnb.int8_vectorwise_quant(w)
    tensors = {"weight": codes, "SCB": absmax.float(), "weight_format": torch.tensor(0, dtype=torch.uint8)}
    values = bnb.int8_vectorwise_dequant(codes, absmax).numpy()
    settings = {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False,
                "llm_int8_threshold": threshold}
    return Kind(settings).add(tensors, values, "int8 row sym", False)


def fp8(block):
    w = torch.from_numpy(weights(40, 96, 80))
    if block:
        down, across = -(-40 // block[0]), -(-96 // block[1])
        scale = torch.zeros(down, across)
        for r in range(down):
            for c in range(across):
                scale[r, c] = w[r * block[0]:(r + 1) * block[0], c * block[1]:(c + 1) * block[1]].abs().max() / 448
        wide = scale.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[:40, :96]
    else:
        scale = wide = w.abs().max() / 448
    codes = (w / wide).to(torch.float8_e4m3fn)
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": block}
    name = f"fp8_e4m3 block {block[0]}x{block[1]}" if block else "fp8_e4m3 tensor"
    return Kind(settings).add({"weight": codes, "weight_scale_inv": scale}, (codes.float() * wide).numpy(), name,
                              not block)


def kinds():
    yield "gptq4_v1_sym", gptq(4, 32, True, "gptq")
    yield "gptq4_v1_asym", gptq(4, 64, False, "gptq")
    yield "gptq4_v2_act_order", gptq(4, 32, False, "gptq_v2", order=True)
    yield "gptq2_v2", gptq(2, 32, False, "gptq_v2")
    yield "gptq3_v1_row", gptq(3, -1, False, "gptq")
    yield "gptq3_v2_act_order", gptq(3, 48, True, "gptq_v2", order=True)
    yield "gptq8_v1", gptq(8, 128, True, "gptq")
    yield "awq_gemm", awq("gemm", 64)
    yield "awq_gemv", awq("gemv", 64)
    yield "awq_gemv_g128", awq("gemv", 128)
    yield from of_compressed_tensors()
    yield "bnb_nf4", bnb4("nf4", False, 16, 128, True, "nf4 g64")
    yield "bnb_fp4", bnb4("fp4", False, 16, 128, True, "fp4 g64")
    yield "bnb_nf4_nested", bnb4("nf4", True, 72, 256, True, "nf4 g64 dq")
    yield "bnb_nf4_run_on", bnb4("nf4", False, 24, 48, False, "nf4 g64")
    yield "bnb_nf4_nested_run_on", bnb4("nf4", True, 24, 48, False, "nf4 g64 dq")
    yield "bnb_int8", bnb8(6.0)
    yield "bnb_int8_plain", bnb8(0.0)
    yield "fp8_block", fp8([16, 32])
    yield "fp8_tensor", fp8(None)


def main():
    root = pathlib.Path(__file__).resolve().parents[2] / "harness/formats/testdata"
    expected = {}
    for name, kind in kinds():
        folder = root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"quantization_config": kind.settings}, indent=1) + "\n")
        save_file(kind.tensors, folder / "model.safetensors", metadata={"format": "pt"})
        expected[name] = kind.expected
    (root / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
