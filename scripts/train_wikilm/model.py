"""The LLaMA architecture in PyTorch, with parameter names as Hugging Face checkpoints have them."""
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

RMS_EPS = 1e-5
ROPE_THETA = 10000.0
INIT_STD = 0.02


@dataclass(frozen=True)
class Shape:
    dim: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    context: int

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


class RMSNorm(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.float()  # squares of outliers overflow or lose their neighbours in 16 bits
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + RMS_EPS)
        return (y * self.weight).type_as(x)


def rope_tables(head_dim: int, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, (positions, head_dim), in the half-split layout of Hugging Face."""
    frequencies = 1.0 / ROPE_THETA ** (torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(positions).float(), frequencies)
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates x (batch, heads, positions, head_dim)."""
    half, positions = x.shape[-1] // 2, x.shape[-2]
    cos, sin = cos[:positions].to(x.dtype), sin[:positions].to(x.dtype)
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        head_dim = shape.head_dim
        self.q_proj = nn.Linear(shape.dim, shape.heads * head_dim, bias=False)
        self.k_proj = nn.Linear(shape.dim, shape.kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(shape.dim, shape.kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * head_dim, shape.dim, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        batch, positions, _ = x.shape

        def split(y: torch.Tensor, heads: int) -> torch.Tensor:
            return y.view(batch, positions, heads, self.shape.head_dim).transpose(1, 2)

        query = rope(split(self.q_proj(x), self.shape.heads), cos, sin)
        key = rope(split(self.k_proj(x), self.shape.kv_heads), cos, sin)
        value = split(self.v_proj(x), self.shape.kv_heads)
        shared_by = self.shape.heads // self.shape.kv_heads
        key, value = key.repeat_interleave(shared_by, 1), value.repeat_interleave(shared_by, 1)
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, positions, -1))


class MLP(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.dim, shape.ffn, bias=False)
        self.up_proj = nn.Linear(shape.dim, shape.ffn, bias=False)
        self.down_proj = nn.Linear(shape.ffn, shape.dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.input_layernorm = RMSNorm(shape.dim)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.dim)
        self.mlp = MLP(shape)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Returns the mean cross-entropy of the targets; the head is tied to the embedding."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.dim)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.dim)
        cos, sin = rope_tables(shape.head_dim, shape.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        # What is added to the residual stream starts smaller the more layers add to it.
        residual_std = INIT_STD / math.sqrt(2 * self.shape.layers)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                to_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=residual_std if to_residual else INIT_STD)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.embed_tokens(ids)
        for block in self.layers:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embed_tokens.weight)
        return F.cross_entropy(logits.float().view(-1, self.shape.vocab), targets.reshape(-1))
