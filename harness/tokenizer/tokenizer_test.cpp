#include "harness/tokenizer/tokenizer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "harness/base/rng.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

fs::path ModelFile() { return testing::ReferenceModel("wikilm-2m") / "tokenizer.model"; }

std::string ModelBytes() { return ReadFile(ModelFile(), 1 << 20); }

// Writes the bytes as a tokenizer.model, loads it and encodes with it, so that all of it is used.
std::vector<uint32_t> EncodedWith(const std::string& model) {
  const TempDir dir;
  testing::WriteFile(dir / "tokenizer.model", model);
  return Tokenizer::Load(dir.path()).Encode("Hello \xef\xbc\xa1\xff w\xc3\xb6rld 12\n\xe6\x97\xa5");
}

// Whatever the process writes to stderr while this lives.
class CapturedStderr {
 public:
  explicit CapturedStderr(fs::path file) : file_(std::move(file)), before_(::dup(2)) {
    std::fflush(stderr);
    const int to = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(to, 2);
    ::close(to);
  }
  ~CapturedStderr() {
    std::fflush(stderr);
    ::dup2(before_, 2);
    ::close(before_);
  }
  std::string Text() const { return ReadFile(file_, 1 << 20); }

 private:
  fs::path file_;
  int before_;
};

// One field of a protobuf message.
std::string Field(unsigned number, const std::string& bytes) {
  std::string field(1, static_cast<char>(number << 3 | 2));
  size_t size = bytes.size();
  for (; size >= 0x80; size >>= 7) field += static_cast<char>(0x80 | (size & 0x7f));
  return field + static_cast<char>(size) + bytes;
}

std::string Word(uint32_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>((value >> shift) & 0xff);
  return bytes;
}

// A trie whose units all are `unit`.
std::string Trie(size_t units, uint32_t unit) {
  std::string trie;
  for (size_t i = 0; i < units; ++i) trie += Word(unit);
  return trie;
}

// The bundled model with this character map added to its normalizer (the last one of a field
// counts).
std::string WithCharacterMap(const std::string& trie, const std::string& strings) {
  const std::string map = Word(static_cast<uint32_t>(trie.size())) + trie + strings;
  return ModelBytes() + Field(3, Field(2, map));
}

TEST_CASE("tokenizer: the bundled tokenizer", "[tokenizer]") {
  Tokenizer loaded = Tokenizer::Load(ModelFile());
  const Tokenizer tokenizer = std::move(loaded);
  CHECK(tokenizer.vocab_size() == 8192);
  CHECK(tokenizer.bos_id() == 1u);
  CHECK(tokenizer.sha256() == Sha256Hex(ModelBytes()));
  CHECK(tokenizer.Encode("").empty());
  const std::vector<uint32_t> ids = tokenizer.Encode("The history of the world.");
  REQUIRE_FALSE(ids.empty());
  CHECK(ids.front() != tokenizer.bos_id());
  CHECK(ids == Tokenizer::Load(ModelFile().parent_path()).Encode("The history of the world."));
}

TEST_CASE("tokenizer: any bytes are encoded, with ids below the vocabulary", "[tokenizer]") {
  const Tokenizer tokenizer = Tokenizer::Load(ModelFile());
  Rng rng(7);
  for (int round = 0; round < 200; ++round) {
    std::string text(rng.Below(200), ' ');
    for (char& byte : text) byte = static_cast<char>(rng.Below(256));
    for (const uint32_t id : tokenizer.Encode(text)) {
      if (id >= tokenizer.vocab_size()) FAIL("id " << id);
    }
  }
}

TEST_CASE("tokenizer: placed tokens are those of Encode and stand for all of the text",
          "[tokenizer]") {
  const Tokenizer tokenizer = Tokenizer::Load(ModelFile());
  const std::string text = "  Two  spaces\n and \xf0\x93\x80\x80 in bytes.\n";
  const Tokenizer::Placed placed = tokenizer.EncodePlaced(text);
  CHECK(placed.ids == tokenizer.Encode(text));
  REQUIRE(placed.begins.size() == placed.ids.size());
  CHECK(placed.begins.front() == 0);
  CHECK(std::is_sorted(placed.begins.begin(), placed.begins.end()));
  CHECK(placed.begins.back() < text.size());
  // Of the four bytes of the one character the last token has them all.
  const auto character = static_cast<uint32_t>(text.find('\xf0'));
  CHECK(std::count(placed.begins.begin(), placed.begins.end(), character) == 4);
  CHECK(std::count(placed.begins.begin(), placed.begins.end(), character + 4) == 1);
  CHECK(tokenizer.EncodePlaced("").ids.empty());
}

TEST_CASE("tokenizer: what it cannot spell is its unknown token", "[tokenizer]") {
  const TempDir dir;
  testing::WriteLetterTokenizer(dir.path());
  const Tokenizer tokenizer = Tokenizer::Load(dir.path());
  REQUIRE(tokenizer.vocab_size() == testing::kLetterPieces);
  REQUIRE(tokenizer.unknown_id() == 0u);
  const std::string text = "ab\xe6\x97\xa5\xe6\x9c\xac.c";
  const Tokenizer::Placed placed = tokenizer.EncodePlaced(text);  // _ a b <unk> . c
  REQUIRE(placed.ids.size() == 6);
  CHECK(placed.ids[3] == tokenizer.unknown_id());
  CHECK(placed.begins == std::vector<uint32_t>{0, 0, 1, 2, 8, 9});
}

TEST_CASE("tokenizer: tokenizer_config.json says whether texts begin with BOS", "[tokenizer]") {
  const TempDir dir;
  testing::CopyTokenizer(dir.path());
  CHECK_FALSE(Tokenizer::Load(dir.path()).adds_bos().has_value());
  const auto with = [&](const std::string& config) {
    testing::WriteFile(dir / "tokenizer_config.json", config);
    return Tokenizer::Load(dir.path()).adds_bos();
  };
  CHECK(with(R"({"add_bos_token": true})") == true);
  CHECK(with(R"({"add_bos_token": false, "model_max_length": 1e30})") == false);
  CHECK_FALSE(with(R"({"add_bos_token": null})").has_value());
  CHECK_FALSE(with("{}").has_value());
  CHECK_ERROR(with(R"({"add_bos_token": "yes"})"), "tokenizer_config.json", "add_bos_token",
              "true or false");
  CHECK_ERROR(with("[]"), "tokenizer_config.json", "an object");
}

TEST_CASE("tokenizer: a folder without one, and a file that is not there", "[tokenizer]") {
  const TempDir dir;
  CHECK_ERROR(Tokenizer::Load(dir.path()), "tokenizer.model", "no such file", "vocab.json");
  CHECK_ERROR(Tokenizer::Load(dir / "none" / "tokenizer.model"), "tokenizer.model", "no such file");
}

TEST_CASE("tokenizer: of several files in a folder SentencePiece's comes first, tiktoken's last",
          "[tokenizer]") {
  const fs::path data = testing::SourceDir() / "harness/tokenizer/testdata";
  const TempDir dir;
  const auto kind = [&] { return Tokenizer::Load(dir.path()).facts().kind; };
  testing::WriteFile(dir / "own.tiktoken", "IQ== 0\nIg== 1\nIw== 2\n");
  CHECK_ERROR(kind(), "own.tiktoken", "a tiktoken vocabulary of 3 ranks");
  testing::WriteFile(dir / "other.tiktoken", "");
  CHECK_ERROR(kind(), "expected one tiktoken file");
  fs::copy_file(data / "gpt2.json", dir / "tokenizer.json");
  CHECK(kind() == "BPE of tokenizer.json");
  testing::WriteFile(dir / "tokenizer.model", "IQ== 0\nIg== 1\nIw== 2\n");
  CHECK(kind() == "BPE of tokenizer.json");
  fs::remove(dir / "tokenizer.model");
  testing::CopyTokenizer(dir.path());
  CHECK(kind() == "SentencePiece");
}

TEST_CASE("tokenizer: a corrupt model is an Error and nothing is printed", "[tokenizer]") {
  const TempDir dir;
  const std::string model = ModelBytes();
  const CapturedStderr captured(dir / "stderr");
  CHECK_ERROR(EncodedWith(""), "tokenizer.model", "empty");
  CHECK_ERROR(EncodedWith("x"), "expected a SentencePiece model", "found 1 bytes");
  CHECK_ERROR(EncodedWith("This is no protocol buffer."), "expected a SentencePiece model");
  CHECK_ERROR(EncodedWith(std::string(100'000, '\0')), "expected a SentencePiece model");
  CHECK_ERROR(EncodedWith(std::string(100'000, '\xff')), "expected a SentencePiece model");
  CHECK_ERROR(EncodedWith(model.substr(0, model.size() / 2)), "expected a SentencePiece model");
  CHECK_ERROR(EncodedWith(Field(1, Field(1, "piece"))), "unk is not defined");
  CHECK(captured.Text().empty());
}

TEST_CASE("tokenizer: what else is named tokenizer.model is called by its name", "[tokenizer]") {
  CHECK_ERROR(EncodedWith("IQ== 0\nIg== 1\nIw== 2\nJA== 3\n"), "found a tiktoken vocabulary of 4",
              "Llama 3 (128000)");
  CHECK_ERROR(
      EncodedWith("version https://git-lfs.github.com/spec/v1\noid sha256:9e55\nsize 499\n"),
      "found a Git LFS pointer", "git lfs pull");
  CHECK_ERROR(EncodedWith("{\n  \"config\": {},\n  \"vocab\": []}"), "tekken.json");
  CHECK_ERROR(EncodedWith("<!doctype html><html>Sign in</html>"), "found a web page");
  CHECK_ERROR(EncodedWith("IQ== zero\nIg== 1\nIw== 2\n"), "bytes that are none");
}

TEST_CASE("tokenizer: what the library throws is an Error") {
  using namespace std::string_literals;
  const std::string unigram = ModelBytes() + Field(2, "\x18\x01");
  CHECK_NOTHROW(EncodedWith(unigram));
  CHECK_ERROR(EncodedWith(unigram + Field(1, Field(1, "\0b"s))), "expected a SentencePiece model",
              "zero-length key");
}

TEST_CASE("tokenizer: a character map that leads out of itself is refused", "[tokenizer]") {
  using namespace std::string_literals;
  const std::string strings = "x\0"s;
  const std::string message = "corrupt character map";
  const uint32_t far = 0x1fffffu << 10 | 0x200;  // the largest offset
  CHECK_NOTHROW(EncodedWith(WithCharacterMap(Trie(256, 0), strings)));
  CHECK_ERROR(EncodedWith(WithCharacterMap(Trie(256, far), strings)), message);
  CHECK_ERROR(EncodedWith(WithCharacterMap(Trie(256, 256u << 10), strings)), message);
  CHECK_ERROR(EncodedWith(WithCharacterMap(Trie(255, 0), strings)), message);
  CHECK_ERROR(EncodedWith(WithCharacterMap(Word(0xfd000000u) + Trie(255, 0), strings)), message);
  CHECK_ERROR(EncodedWith(WithCharacterMap("", strings)), message);
  CHECK_ERROR(EncodedWith(WithCharacterMap(Trie(256, 0), "")), message);
  CHECK_ERROR(EncodedWith(WithCharacterMap(Trie(256, 0), "x")), message);
  CHECK_ERROR(EncodedWith(ModelBytes() + Field(3, Field(2, Word(1u << 30)))), message);
  CHECK_ERROR(EncodedWith(ModelBytes() + Field(3, Field(2, "abc"))), message);
  // Unit 0 has a value: unit 0 of the block says where in the strings.
  CHECK_ERROR(
      EncodedWith(WithCharacterMap(
          Word(256u << 10 | 0x100) + Trie(255, 0) + Word(0x80000002u) + Trie(255, 0), strings)),
      message);
}

TEST_CASE("tokenizer: damaged models give an Error or work", "[tokenizer]") {
  const TempDir dir;
  const std::string model = ModelBytes();
  const CapturedStderr captured(dir / "stderr");
  Rng rng(11);
  int worked = 0;
  for (int round = 0; round < 100; ++round) {
    std::string damaged = model;
    // The last kilobytes hold the settings, the rest the pieces.
    const size_t first = round % 2 == 0 ? 0 : model.size() - std::min<size_t>(model.size(), 1000);
    for (uint64_t flips = 1 + rng.Below(4); flips > 0; --flips) {
      damaged[first + rng.Below(damaged.size() - first)] ^= static_cast<char>(1u << rng.Below(8));
    }
    if (round % 5 == 0) damaged.resize(1 + rng.Below(damaged.size()));
    try {
      worked += EncodedWith(damaged).empty() ? 0 : 1;
    } catch (const Error&) {
    }
  }
  CHECK(worked < 100);
  CHECK(captured.Text().empty());
}

}  // namespace
}  // namespace quantref
