"""QuaRot of one tiny checkpoint in PyTorch, in float64: the golden vectors of quantizers/quarot_test.cpp.

Written from the paper (Ashkboos et al. 2024, sections 3 and 4) with whole Hadamard matrices: Paley's
first construction for 12, Sylvester's for powers of two, and the Kronecker products that harness/kernels/
hadamard_matrix.h names. Nothing is mixed by butterflies, and norms, signs and rotations are products of
matrices. Signs are the lowest bits of xoshiro256** seeded by splitmix64. Needs PyTorch 1.13 or later.

The model is harness/model/testdata/gqa_tied_bf16. The output is a JSON object:
  seed   of the signs
  rows   of each matrix: their numbers and what they are, by the matrix's name in the model
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors_io import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "harness/model/testdata/gqa_tied_bf16"
DEFAULT_OUT = ROOT / "quantizers/testdata/quarot.json"
SEED, ROWS = 3, (0, 17)

torch.set_default_dtype(torch.float64)


def random_signs(seed: int, count: int) -> torch.Tensor:
    top = (1 << 64) - 1

    def rotate(x, by):
        return (x << by | x >> (64 - by)) & top

    state = []
    for _ in range(4):
        seed = (seed + 0x9E3779B97F4A7C15) & top
        z = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9 & top
        z = (z ^ z >> 27) * 0x94D049BB133111EB & top
        state.append(z ^ z >> 31)
    signs = []
    for _ in range(count):
        value = rotate(state[1] * 5 & top, 7) * 9 & top
        signs.append(-1.0 if value % 2 else 1.0)
        shifted = state[1] << 17 & top
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= shifted
        state[3] = rotate(state[3], 45)
    return torch.tensor(signs)


def paley(q: int) -> torch.Tensor:
    """Of order q + 1: I + S, with the Legendre symbols of differences in S."""
    squares = {x * x % q for x in range(1, q)}
    symbol = [0.0] + [1.0 if x in squares else -1.0 for x in range(1, q)]
    matrix = torch.eye(q + 1)
    matrix[0, 1:] += 1
    matrix[1:, 0] -= 1
    for i in range(q):
        for j in range(q):
            matrix[i + 1, j + 1] += symbol[(i - j) % q]
    return matrix


def sylvester(order: int) -> torch.Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < order:
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix


def orthogonal(hadamard: torch.Tensor) -> torch.Tensor:
    order = len(hadamard)
    assert torch.equal(hadamard @ hadamard.T, order * torch.eye(order))
    return hadamard / order**0.5


def rotated(weights: dict, config: dict) -> dict:
    hidden, heads, dim = config["hidden_size"], config["num_attention_heads"], config["head_dim"]
    stream = orthogonal(sylvester(hidden)) @ torch.diag(random_signs(SEED, hidden))  # h becomes stream h
    in_head = orthogonal(paley(dim - 1))
    across = torch.kron(orthogonal(sylvester(heads)), torch.eye(dim))
    mlp = orthogonal(torch.kron(paley(11), sylvester(config["intermediate_size"] // 12)))
    made = {}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."

        def weight(name):
            return weights[f"{prefix}{name}.weight"]

        before_attention = torch.diag(weight("input_layernorm")) @ stream.T
        before_mlp = torch.diag(weight("post_attention_layernorm")) @ stream.T
        values = torch.kron(torch.eye(config["num_key_value_heads"]), in_head)
        read_by_o = torch.kron(torch.eye(heads), in_head).T @ across.T
        blocks = {
            "self_attn.q_proj": weight("self_attn.q_proj") @ before_attention,
            "self_attn.k_proj": weight("self_attn.k_proj") @ before_attention,
            "self_attn.v_proj": values @ weight("self_attn.v_proj") @ before_attention,
            "self_attn.o_proj": stream @ weight("self_attn.o_proj") @ read_by_o,
            "mlp.gate_proj": weight("mlp.gate_proj") @ before_mlp,
            "mlp.up_proj": weight("mlp.up_proj") @ before_mlp,
            "mlp.down_proj": stream @ weight("mlp.down_proj") @ mlp.T,
        }
        made |= {f"layers.{layer}.{name}": matrix for name, matrix in blocks.items()}
    embedding = weights["model.embed_tokens.weight"]
    made["embed_tokens"] = embedding @ stream.T
    made["lm_head"] = embedding @ torch.diag(weights["model.norm.weight"]) @ stream.T
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    arguments = parser.parse_args()
    config = json.loads((MODEL / "config.json").read_text())
    weights = {
        name: torch.from_numpy(np.asarray(values, dtype=np.float64)) for name, values in read_checkpoint(MODEL).items()
    }
    rows = {
        name: {str(r): [round(value, 8) for value in matrix[r].tolist()] for r in ROWS}
        for name, matrix in rotated(weights, config).items()
    }
    arguments.out.write_text(json.dumps({"seed": SEED, "rows": rows}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
