"""Wikipedia text in WikiText's style -> a SentencePiece tokenizer and uint16 token streams.

Writes OUT_DIR/tokenizer.model, train.u16 (the articles in a fixed random order, BOS before each)
and valid.u16 (the validation text as it is, BOS first). Odd articles of that order are encoded as
rows joined by blank lines, even ones as they are: the two forms in which perplexity protocols feed
such text to a model.
"""
import argparse
import multiprocessing
import re
import time
from pathlib import Path

import numpy as np
import sentencepiece

BOS = 1
ARTICLE_HEADING = re.compile(r"^ = [^=].* = \n$")
# The tokenizer learns from every fifth article's lines, less the very short and the very long.
SAMPLE_EVERY = 5
SAMPLE_LINE_BYTES = range(21, 4000)


def read_articles(parts_dir: Path) -> list[str]:
    """An article starts at a first-level heading that follows a blank line."""
    articles = []
    for path in sorted(parts_dir.glob("*.txt")):
        lines: list[str] = []
        with open(path, encoding="utf-8", newline="\n") as file:
            for line in file:
                if ARTICLE_HEADING.match(line) and lines and lines[-1].strip() == "":
                    articles.append("".join(lines))
                    lines = []
                lines.append(line)
        if lines:
            articles.append("".join(lines))
    return articles


def write_tokenizer_sample(articles: list[str], path: Path) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for article in articles[::SAMPLE_EVERY]:
            for line in article.split("\n"):
                if len(line.encode()) in SAMPLE_LINE_BYTES:
                    file.write(line + "\n")
                    count += 1
    return count


def train_tokenizer(sample: Path, model_prefix: Path, vocab: int, workers: int) -> None:
    """Byte-pair merges that keep every character of the text, spaces and newlines included."""
    sentencepiece.SentencePieceTrainer.train(
        input=str(sample),
        model_prefix=str(model_prefix),
        vocab_size=vocab,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        allow_whitespace_only_pieces=True,
        character_coverage=0.99995,
        num_threads=workers,
        max_sentence_length=4192,
        input_sentence_size=400000,
        shuffle_input_sentence=True,
        pad_id=-1,
        unk_id=0,
        bos_id=BOS,
        eos_id=2,
        minloglevel=1,
    )


def joined_rows(article: str) -> str:
    """The article as data-set rows joined by blank lines, as most WikiText scripts feed a model."""
    lines = article.split("\n")[:-1]
    return "\n\n".join(line + "\n" if line.strip() else "" for line in lines)


class Encoder:
    """Text -> uint16 token ids with BOS first."""

    def __init__(self, model_file: Path):
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(model_file))

    def __call__(self, text: str) -> np.ndarray:
        return np.array([BOS] + self.tokenizer.encode(text), np.uint16)


# Each worker process loads the tokenizer once, which needs a place that outlives a task.
worker_encoder: Encoder


def start_worker(model_file: Path) -> None:
    global worker_encoder
    worker_encoder = Encoder(model_file)


def encode_in_worker(text: str) -> np.ndarray:
    return worker_encoder(text)


def write_train_tokens(articles: list[str], model_file: Path, path: Path, workers: int) -> int:
    order = np.random.default_rng(0).permutation(len(articles))
    texts = (joined_rows(articles[i]) if k % 2 else articles[i] for k, i in enumerate(order))
    total = 0
    with open(path, "wb") as file:
        with multiprocessing.Pool(workers, start_worker, (model_file,)) as pool:
            for ids in pool.imap(encode_in_worker, texts, chunksize=64):
                ids.tofile(file)
                total += len(ids)
    return total


def write_valid_tokens(text_file: Path, model_file: Path, path: Path) -> int:
    with open(text_file, encoding="utf-8", newline="\n") as file:
        ids = Encoder(model_file)(file.read())
    ids.tofile(path)
    return len(ids)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts_dir", type=Path, help="the training text: UTF-8 *.txt files")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("valid_txt", type=Path, help="the validation text")
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--workers", type=int, default=16)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.vocab > 1 << 16:
        raise SystemExit(f"--vocab {args.vocab}: the token streams hold 16-bit ids")
    started = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {text}", flush=True)

    args.out_dir.mkdir(parents=True, exist_ok=True)
    articles = read_articles(args.parts_dir)
    characters = sum(map(len, articles))
    report(f"{len(articles):,} articles, {characters:,} characters")
    sample = args.out_dir / "spm_sample.txt"
    lines = write_tokenizer_sample(articles, sample)
    if lines == 0:
        raise SystemExit(f"{args.parts_dir}: no text in *.txt files to train the tokenizer on")
    report(f"{lines:,} lines for the tokenizer")
    train_tokenizer(sample, args.out_dir / "tokenizer", args.vocab, args.workers)
    model_file = args.out_dir / "tokenizer.model"
    report("tokenizer trained")
    train = write_train_tokens(articles, model_file, args.out_dir / "train.u16", args.workers)
    valid = write_valid_tokens(args.valid_txt, model_file, args.out_dir / "valid.u16")
    report(f"tokens: train {train:,} valid {valid:,}; {characters / train:.3f} characters a token")


if __name__ == "__main__":
    main()
