"""Perplexity figures of a Hugging Face LLaMA checkpoint in float64, under this project's protocols.

An implementation of its own, in numpy, of everything from the bytes of the checkpoint to the mean
negative log-likelihood (NLL, nats a token): what the C++ code is checked against.
"""
import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece

from llama_float64 import Llama

FIRST_NLL_COUNT = 8


@dataclass(frozen=True)
class Window:
    """`ids` is what the model sees; the predictions of positions first_scored..len(ids)-1 count."""

    ids: np.ndarray
    first_scored: int


def joined_rows(raw: str) -> str:
    """The data set's rows joined by blank lines; a row is a line with its newline, "" if blank."""
    lines = raw.split("\n")
    rows = [line + "\n" if line.strip() else "" for line in lines[:-1]]
    if lines[-1]:  # a last line without a newline is a row as it stands
        rows.append(lines[-1] if lines[-1].strip() else "")
    return "\n\n".join(rows)


def raw_text(raw: str) -> str:
    return raw


def gptq_windows(ids: np.ndarray, context: int) -> Iterator[Window]:
    """Windows side by side, the tail dropped; every prediction inside a window counts."""
    for begin in range(0, len(ids) - context + 1, context):
        yield Window(ids[begin : begin + context], 1)


def llamacpp_windows(ids: np.ndarray, context: int) -> Iterator[Window]:
    """As above, but BOS replaces each chunk's first token and only its second half counts."""
    for begin in range(0, len(ids) - context + 1, context):
        chunk = ids[begin : begin + context].copy()
        chunk[0] = ids[0]
        yield Window(chunk, context // 2 + 1)


def full_stride_windows(ids: np.ndarray, context: int) -> Iterator[Window]:
    """Windows half a context apart, the last cut short; each scores what none before it did."""
    stride = context // 2
    scored_to = 1  # BOS has nothing before it and is never scored
    begin = 0
    while scored_to < len(ids):
        end = min(begin + context, len(ids))
        yield Window(ids[begin:end], scored_to - begin)
        scored_to = end
        begin += stride


@dataclass(frozen=True)
class Protocol:
    text_form: Callable[[str], str]
    max_context: int | None  # None: the model's own
    windows: Callable[[np.ndarray, int], Iterator[Window]]


PROTOCOLS = {
    "gptq-2048": Protocol(joined_rows, 2048, gptq_windows),
    "llamacpp-512": Protocol(raw_text, 512, llamacpp_windows),
    "full-stride": Protocol(raw_text, None, full_stride_windows),
}


def tokenize(model_dir: Path, text: str) -> np.ndarray:
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(model_dir / "tokenizer.model"))
    return np.array([tokenizer.bos_id()] + tokenizer.encode(text), np.int64)


def token_sha256(ids: np.ndarray) -> str:
    return hashlib.sha256(ids.astype("<u4").tobytes()).hexdigest()


def evaluate(model: Llama, windows: list[Window]) -> dict:
    """The figures over the windows; `mean_nll` weighs every scored token alike."""
    means = []
    total = 0.0
    scored = 0
    first: list[float] = []
    for done, window in enumerate(windows, 1):
        nll = model.nll(window.ids)[window.first_scored - 1 :]
        first = first or nll[:FIRST_NLL_COUNT].tolist()
        means.append(float(nll.mean()))
        total += float(nll.sum())
        scored += len(nll)
        print(f"window {done}/{len(windows)}: mean NLL {means[-1]:.9f}", file=sys.stderr)
    return {
        "windows": len(windows),
        "scored": scored,
        "mean_nll": total / scored,
        "ppl": math.exp(total / scored),
        "window_mean_nll": means,
        "first_nll": first,
    }


def figures(args: argparse.Namespace) -> dict:
    protocol = PROTOCOLS[args.protocol]
    model = Llama(args.model_dir)
    own_context = min(protocol.max_context or model.config.context, model.config.context)
    context = args.context or own_context
    with open(args.text_file, encoding="utf-8", newline="") as file:  # "": line ends as they are
        text = protocol.text_form(file.read())
    ids = tokenize(args.model_dir, text)
    windows = list(protocol.windows(ids, context))[: args.windows]
    if not windows:
        raise SystemExit(f"{args.text_file}: {len(ids)} tokens fill no window of {context}")
    return {
        "protocol": args.protocol,
        "context": context,
        "tokens": len(ids),
        "token_sha256": token_sha256(ids),
        **evaluate(model, windows),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir", type=Path, help="config.json, *.safetensors, tokenizer.model")
    parser.add_argument("text_file", type=Path, help="UTF-8 text, such as wiki.test.raw")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), required=True)
    parser.add_argument("--windows", type=int, metavar="N", help="only the first N windows")
    parser.add_argument("--context", type=int, metavar="C", help="default: the protocol's")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    text = json.dumps(figures(args), indent=1) + "\n"
    if args.out:
        args.out.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
