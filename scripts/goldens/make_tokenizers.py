#!/usr/bin/env python3
"""Trains tiny tokenizers of each kind and writes what Hugging Face's `tokenizers` makes of texts.

Into harness/tokenizer/testdata: NAME.json, a tokenizer.json each, and goldens.json: ids of awkward texts,
and a hash of the ids of 10,000 random ones, which tokenizer_golden_test.cpp draws again by the same rule. And where
patterns cut a text of awkward words and of the first random ones.
Needs `tokenizers` (0.23.3). Code points are those that Unicode 3.2 had already, so that no library's
tables are too old.
"""
import hashlib
import json
import pathlib
import struct
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "harness/tokenizer/testdata"
STRINGS, SEED, MASK = 10000, 20, (1 << 64) - 1
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
FRAGMENTS = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "'s", "'LL", "'ve", "0", "12", "3456", "the", " of",
             "<s>", "<tag>", "<pad>", "\u00e9", "e\u0301", "\u1100\u1161\u11a8", "\u00a0", "\u180e", "\u2003",
             "\u0085", "\U0001f600", "\U0001f469\u200d\U0001f469", "\u2581", "\ufffd", "<0x41>", "\u212b", "\u00bd"]
TEXTS = ["", " ", "a", "Hello world", " Hello  world   \n\n  next", "I'M we'Re it's O'Neil's", "x'\u017fy",
         "1234567890 3.14159 12,345", "\n = Robert Boulter = \n \n Robert Boulter is an English film",
         "foo@-@bar 1 @,@ 000", "caf\u00e9 na\u00efve \u00dcn\u00efc\u00f6d\u00e9", "cafe\u0301 (NFD)",
         "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3002", "\u0645\u0631\u062d\u0628\u0627",
         "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\u1100\u1161\u11a8",
         "a\u0315\u0300b", "<s>not parsed</s><tag> <tag>", "tabs\tand\u00a0spaces\u2003here\u3000", "\r\n\r\n x",
         "!!!???... ---", "(\u2581)\u2581\u2581", "\u00bd\u00b2\u2460\u2167", "x" * 100, " " * 40 + "end", "trailing   "]

WORDS = ["ab", "aB", "AB", "bC", "C", "xyz", "stra\u00dfe", "STRASSE", "\u017ft", "\ufb01", "fi", "ss", "K", "\u212a", "'s", "'S",
         "'\u017f", "a(b", "a|b", "12", "\u0663", "\u00b2", "\u00bd", "\u2167", "\u24d0", "\u00aa", "\t", "\v", "\u2028", "\u0085", "\r\n",
         "\n\n", "aaaa", "AAA", "bbbb", "\u00e9", "e\u0301", "\u0130", "\u0131", "\u03a3\u03c3\u03c2", "\u01c5", "VvV", "_", "-", "{2}",
         "\u6771\u4eac\u3001\u5927\u962a\u3002", "\u3007\u3005\u30fc", "\u300c\u300d", "\u30ab\u30bf\u30ab\u30ca",
         "\u3072\u3089\u304c\u306a", "\u180e", "\u3000", "\u200d", "\u0645\u0631\u062d", "\u03b5\u03bb", "\u043f\u0440"]
WORD_TEXTS = 300  # random ones behind the words
PATTERNS = [r"\s", r"\S+", r"[\S]+", r"[\s\S]", r"[^\S]+", r"\w+", r"\W+", r"[\w]+", r"[^\w]+", r"\b", r"\B.", r"\d+[\D]", r"\p{Han}+",
            r"\P{Han}", r"[\p{Han}]+|[^\r\n\p{Han}]+", r"\p{Hiragana}+|\p{Katakana}", r"[\p{Arabic}\p{Greek}]+", r"\p{^Latin}+",
            r"\p{Latin}+", r"\p{Cyrillic}", r"\p{Common}+", r"\p{Inherited}", r"\p{Lowercase}", r"\p{Uppercase}+", r"\p{Any}",
            r"\p{Lu}\p{Ll}*", r"[^\p{L}\p{N}]?\p{L}+", r"a{2,3}?b", r"a{2}b*", r"\x41\x{42}", r"(?i)b|C", r"x|(?i)b|C|[|](?:(?i)d|\()",
            r"(?i:a)ss", r"((?i)a)ss|ss", r"(?i)a|b", r"(?i)[a-z]+", r"(?i)[^a-z]+", r"(?i)\p{Lu}", r"(?i)k", r"(?i)'S", r"(?i)f.i",
            r"(?>a+)b", r"(?<=a)b|(?<!a)B", r"^a|a+$", r"a\Z|\Aab", r"[]a]+\x{62}+", r"\p{Yi}+", r"\D+\P{Ll}", r"\P{L}{1,3}?\P{Nd}",
            "(?<i>\u00e9)|(?i:s)a", LLAMA3, QWEN2]


def ranges():
    """The code points to draw from: assigned in Unicode 3.2 and since, as [first, last]."""
    old, found = unicodedata.ucd_3_2_0, []
    for code in range(0xA0, 0x2FA1E):
        if old.category(chr(code)) in ("Cn", "Cs", "Co", "Cc") or unicodedata.category(chr(code)) == "Cn":
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return [r for r in found if r[1] - r[0] >= 8]


class Draw:
    """splitmix64."""

    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % limit


def random_texts(code_ranges):
    draw, total = Draw(SEED), sum(last - first + 1 for first, last in code_ranges)
    for _ in range(STRINGS):
        text = ""
        for _ in range(draw.below(30)):
            kind = draw.below(8)
            if kind < 3:
                text += chr(0x20 + draw.below(0x5F))
            elif kind < 6:
                text += FRAGMENTS[draw.below(len(FRAGMENTS))]
            else:
                place = draw.below(total)
                for first, last in code_ranges:
                    if place <= last - first:
                        text += chr(first + place)
                        break
                    place -= last - first + 1
        yield text


def train(tokenizer, vocabulary, alphabet=(), special=("<s>", "</s>")):
    lines = (ROOT / "eval/sample/sample.validation.raw").read_text(encoding="utf8").split("\n")[:400]
    lines += TEXTS
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False, special_tokens=list(special),
                                  initial_alphabet=list(alphabet), limit_alphabet=len(alphabet) or 60)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def byte_level(vocabulary, normalizer, *steps):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
    return train(tokenizer, vocabulary, sorted(pre_tokenizers.ByteLevel.alphabet()))


def isolated(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def with_bytes(tokenizer):
    """Adds the tokens of single bytes, without training them, and an unknown one."""
    document = json.loads(tokenizer.to_str())
    vocabulary = document["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    document["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(document))


def make():
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made = {}
    made["gpt2"] = byte_level(420, None, pre_tokenizers.ByteLevel(add_prefix_space=False))
    made["llama3"] = byte_level(420, None, isolated(LLAMA3), bytes_)
    made["llama3"].post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made["qwen2"] = byte_level(420, normalizers.NFC(), isolated(QWEN2), bytes_)
    made["smollm"] = byte_level(420, None, pre_tokenizers.Digits(individual_digits=True),
                                pre_tokenizers.ByteLevel(add_prefix_space=True))
    made["smollm"].add_tokens([AddedToken("<tag>", normalized=False), AddedToken("<tag><", normalized=False)])

    llama2 = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    llama2.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    llama2.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    llama2 = with_bytes(train(llama2, 260, special=("<unk>", "<s>", "</s>")))
    document = json.loads(llama2.to_str())
    document["pre_tokenizer"] = None
    made["llama2"] = Tokenizer.from_str(json.dumps(document))

    gemma = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    gemma.normalizer = normalizers.Replace(" ", "\u2581")
    gemma.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    gemma = with_bytes(train(gemma, 260, special=("<pad>", "<eos>", "<s>", "<unk>")))
    gemma.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("\u2581\u2581\u2581")])
    made["gemma"] = gemma

    marked = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    marked.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made["metaspace"] = train(marked, 200, special=("<unk>", "<s>", "</s>"))
    return made


def ignoring_merges(name, tokenizer):
    """LLaMA 3's: a token that merges do not reach is taken whole; merges as older files have them."""
    document = json.loads(tokenizer.to_str())
    if name == "llama3":
        document["model"]["ignore_merges"] = True
        document["model"]["vocab"]["\u0120xyz"] = len(document["model"]["vocab"])
    if name in ("llama3", "gemma"):
        document["model"]["merges"] = [" ".join(merge) for merge in document["model"]["merges"]]
    return document


def ids_of(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def cuts(pattern, text):
    """A hash of the bytes where pieces end that the pattern matches, or lies between."""
    ends, at = [], 0
    for piece, _ in pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str(text):
        at += len(piece.encode())
        ends.append(at)
    return hashlib.sha256(struct.pack(f"<{len(ends)}I", *ends)).hexdigest()


def main():
    OUT.mkdir(exist_ok=True)
    code_ranges = ranges()
    goldens = {"strings": STRINGS, "seed": SEED, "fragments": FRAGMENTS, "ranges": code_ranges, "texts": TEXTS,
               "tokenizers": {}}
    texts = list(random_texts(code_ranges))
    for name, tokenizer in make().items():
        written = json.dumps(ignoring_merges(name, tokenizer), ensure_ascii=False, separators=(",", ":"))
        (OUT / f"{name}.json").write_text(written + "\n", encoding="utf8")
        tokenizer = Tokenizer.from_str(written)
        tokenizer.encode_special_tokens = True  # text is never parsed for control tokens
        digest = hashlib.sha256()
        for text in texts:
            ids = ids_of(tokenizer, text)
            digest.update(struct.pack(f"<{len(ids) + 1}I", len(ids), *ids))
        goldens["tokenizers"][name] = {"ids": [ids_of(tokenizer, text) for text in TEXTS],
                                       "sha256": digest.hexdigest()}
    words = "\n".join([" ".join(WORDS + WORDS[::-1])] + texts[:WORD_TEXTS])
    goldens["patterns"] = {"words": WORDS, "texts": WORD_TEXTS,
                           "cuts": {pattern: cuts(pattern, words) for pattern in PATTERNS}}
    text = json.dumps(goldens, separators=(",", ":"))
    (OUT / "goldens.json").write_text(text + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
