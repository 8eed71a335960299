"""Writes a small checkpoint whose embedding has more rows than its tokenizer has pieces.

A folder with config.json, the weights, tokenizer.model and expected.json: `tokens` and
`token_sha256` of the head of the bundled text, and the float64 `window_mean_nll` of its first
windows under gptq-2048. The softmax is over all rows, as it is in transformers.
"""
import argparse
from pathlib import Path

import numpy as np
import sentencepiece

import reference_forward
from make_tiny_checkpoints import VOCAB, Variant, config_json, random_tensors, write_json
from make_tiny_checkpoints import write_weights

ROOT = Path(__file__).resolve().parents[2]
MOST_PIECES = 48
TEXT_BYTES = 2000
WINDOWS = 3
VARIANT = Variant("padded_vocabulary", "F16", kv_heads=2)


def sample_head() -> str:
    text = (ROOT / "eval" / "sample" / "sample.test.raw").read_bytes()[:TEXT_BYTES]
    return text.decode()


def write_tokenizer(path: Path) -> None:
    """One piece a character, for the most frequent ones."""
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample_head().splitlines()),
            model_writer=file,
            model_type="char",
            vocab_size=MOST_PIECES,
            character_coverage=0.98,
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            minloglevel=2,
        )


def expected(folder: Path) -> dict:
    protocol = reference_forward.PROTOCOLS["gptq-2048"]
    model = reference_forward.Llama(folder)
    ids = reference_forward.tokenize(folder, protocol.text_form(sample_head()))
    windows = list(protocol.windows(ids, model.config.context))[:WINDOWS]
    return {
        "text_bytes": TEXT_BYTES,
        "tokens": len(ids),
        "token_sha256": reference_forward.token_sha256(ids),
        "window_mean_nll": reference_forward.evaluate(model, windows)["window_mean_nll"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "eval" / "testdata" / VARIANT.name)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([args.seed, *VARIANT.name.encode()])
    write_json(args.out / "config.json", config_json(VARIANT))
    write_weights(args.out, VARIANT, random_tensors(VARIANT, rng))
    write_tokenizer(args.out / "tokenizer.model")
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.out / "tokenizer.model"))
    assert tokenizer.get_piece_size() < VOCAB
    write_json(args.out / "expected.json", expected(args.out))


if __name__ == "__main__":
    main()
