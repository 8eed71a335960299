"""Trains a LLaMA-architecture language model and exports it as a Hugging Face checkpoint.

The tokens folder holds train.u16 and valid.u16 (uint16 ids, BOS before each article), as prep.py
writes them. The learning rate follows elapsed time, so a run always ends within its budget, fully
annealed. The defaults are wikilm-28m's.
"""
import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from safetensors.torch import save_file

from model import RMS_EPS, ROPE_THETA, Llama, Shape

CLIP_NORM = 1.0
FINAL_LR_FRACTION = 0.02
LOG_EVERY = 100
PRINT_EVERY = 500
VALIDATE_EVERY = 1000


@dataclass
class Progress:
    steps: int = 0
    tokens: int = 0
    started: float | None = None  # None until the first step, and with it compilation, is over

    def seconds(self) -> float:
        return 0.0 if self.started is None else time.time() - self.started

    def fraction(self, args: argparse.Namespace) -> float:
        """How much of the budget is used, of time or of steps, whichever is further."""
        if self.started is None:
            return 0.0
        return max(self.seconds() / (60 * args.minutes), self.steps / args.max_steps)


def autocast(device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16)


def load_tokens(path: Path, dtype: type, device: str) -> torch.Tensor:
    return torch.from_numpy(np.fromfile(path, np.uint16).astype(dtype)).to(device)


def learning_rate(args: argparse.Namespace, step: int, fraction: float) -> float:
    """A linear warm-up, then half a cosine over the budget down to a fraction of the peak."""
    warmup = min(1.0, (step + 1) / args.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    return args.lr * warmup * (FINAL_LR_FRACTION + (1 - FINAL_LR_FRACTION) * cosine)


def make_optimizer(model: Llama, args: argparse.Namespace, device: str) -> torch.optim.Optimizer:
    """Weight decay acts on the matrices, not on the norms."""
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    vectors = [weight for weight in model.parameters() if weight.dim() != 2]
    groups = [
        {"params": matrices, "weight_decay": args.wd},
        {"params": vectors, "weight_decay": 0.0},
    ]
    fused = {"fused": True} if device == "cuda" else {}
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95), **fused)


def sequence_starts(n_tokens: int, args: argparse.Namespace, device: str) -> Iterator[torch.Tensor]:
    """Batches of positions at which sequences start; each epoch has its own offset and order."""
    generator = torch.Generator().manual_seed(args.seed)
    n_sequences = (n_tokens - 1) // args.context
    while True:
        offset = int(torch.randint(0, args.context, (1,), generator=generator))
        order = torch.randperm(n_sequences - 1, generator=generator)
        for i in range(0, len(order) - args.batch + 1, args.batch):
            yield order[i : i + args.batch].to(device) * args.context + offset


@torch.no_grad()
def validation_nll(model: Llama, tokens: torch.Tensor, device: str) -> float:
    """Mean over the predictions inside windows of the context, side by side."""
    context = model.shape.context
    model.eval()
    total, count = 0.0, 0
    for i in range(0, len(tokens) - context, context):
        window = tokens[i : i + context]
        with autocast(device):
            total += model(window[None, :-1], window[None, 1:]).item() * (context - 1)
        count += context - 1
    model.train()
    return total / max(count, 1)


def log_step(file, progress: Progress, row: dict) -> None:
    print(json.dumps(row), file=file, flush=True)
    if progress.steps % PRINT_EVERY == 0:
        print(json.dumps(row), flush=True)


def train_model(
    model: Llama, tokens: torch.Tensor, valid: torch.Tensor, args: argparse.Namespace, device: str
) -> Progress:
    optimizer = make_optimizer(model, args, device)
    compiled = model if args.no_compile else torch.compile(model)
    inside = torch.arange(args.context + 1, device=device)
    starts = sequence_starts(len(tokens), args, device)
    progress = Progress()
    with open(args.out / "train_log.jsonl", "w") as log:
        while (fraction := progress.fraction(args)) < 1.0:
            rate = learning_rate(args, progress.steps, fraction)
            for group in optimizer.param_groups:
                group["lr"] = rate
            sequences = tokens[next(starts)[:, None] + inside].long() & 0xFFFF
            with autocast(device):
                loss = compiled(sequences[:, :-1].contiguous(), sequences[:, 1:].contiguous())
            loss.backward()
            gradient = nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if progress.started is None:
                loss.item()  # waits for the device, so that the clock starts after compilation
                progress.started = time.time()
            progress.steps += 1
            progress.tokens += args.batch * args.context
            if progress.steps % LOG_EVERY == 0:
                row = {
                    "step": progress.steps,
                    "tokens": progress.tokens,
                    "loss": round(loss.item(), 4),
                    "lr": round(rate, 6),
                    "grad": round(gradient.item(), 3),
                    "seconds": round(progress.seconds(), 1),
                }
                if progress.steps % VALIDATE_EVERY == 0:
                    row["valid_nll"] = round(validation_nll(model, valid, device), 4)
                log_step(log, progress, row)
    return progress


def config_json(shape: Shape) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": shape.dim,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": RMS_EPS,
        "rope_theta": ROPE_THETA,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "vocab_size": shape.vocab,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float16",
    }


def export(model: Llama, training: dict, out: Path) -> None:
    """Weights in FP16, config.json, and training.json with what the run was."""
    state = {
        "model." + name: weight.detach().to(torch.float16).contiguous().cpu()
        for name, weight in model.state_dict().items()
    }
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config_json(model.shape), indent=2))
    (out / "training.json").write_text(json.dumps(training, indent=2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--tokens", type=Path, required=True, help="folder that prep.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--dim", type=int, default=512, help="hidden size")
    parser.add_argument("--layers", type=int, default=8, help="blocks")
    parser.add_argument("--heads", type=int, default=8, help="query heads")
    parser.add_argument("--kv-heads", type=int, default=4, help="key and value heads")
    parser.add_argument("--ffn", type=int, default=1408, help="width of the MLP")
    parser.add_argument("--vocab", type=int, default=8192, help="pieces of the tokenizer")
    parser.add_argument("--context", type=int, default=2048, help="tokens a sequence")
    parser.add_argument("--batch", type=int, default=64, help="sequences a step")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--wd", type=float, default=0.1, help="weight decay of the matrices")
    parser.add_argument("--minutes", type=float, default=13.0, help="budget after compilation")
    parser.add_argument("--max-steps", type=int, default=10**9, help="budget in steps")
    parser.add_argument("--warmup", type=int, default=300, help="steps")
    parser.add_argument("--seed", type=int, default=1, help="of the weights and the order")
    parser.add_argument("--no-compile", action="store_true", help="run without torch.compile")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")

    # torch gathers int16 but not uint16: ids past 32767 turn negative until they are used.
    tokens = load_tokens(args.tokens / "train.u16", np.int16, device)
    valid = load_tokens(args.tokens / "valid.u16", np.int64, device)
    print(f"tokens: train {len(tokens):,} valid {len(valid):,}", flush=True)
    model = Llama(Shape(**{name: getattr(args, name) for name in Shape.__annotations__})).to(device)
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"parameters: {parameters:,}", flush=True)

    progress = train_model(model, tokens, valid, args, device)
    nll = validation_nll(model, valid, device)
    epochs = progress.tokens / len(tokens)
    print(f"{progress.steps:,} steps, {progress.tokens:,} tokens, {epochs:.2f} epochs", flush=True)
    print(f"validation NLL {nll:.4f}, PPL {math.exp(nll):.3f}", flush=True)
    training = {
        "parameters": parameters,
        "steps": progress.steps,
        "tokens": progress.tokens,
        "epochs": epochs,
        "valid_nll": nll,
        "args": vars(args) | {"tokens": str(args.tokens), "out": str(args.out)},
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }
    export(model, training, args.out)


if __name__ == "__main__":
    main()
