#include "harness/tokenizer/tiktoken.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "harness/base/error.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

std::string Base64Of(const std::string& bytes) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    const size_t taken = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (k < taken ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += k <= taken ? digits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

// All bytes, then pairs of bytes in their order, then threes that begin with 0; as many as
// r50k_base has.
std::string PairRanks(size_t ranks = 50256) {
  constexpr size_t kThrees = 256 + 256 * 256;
  std::string lines;
  for (size_t rank = 0; rank < ranks; ++rank) {
    const size_t number = rank < 256 ? rank : rank < kThrees ? rank - 256 : rank - kThrees;
    std::string bytes;
    if (rank >= kThrees) bytes += static_cast<char>(number >> 16);
    if (rank >= 256) bytes += static_cast<char>(number >> 8 & 0xff);
    bytes += static_cast<char>(number & 0xff);
    lines += Base64Of(bytes) + " " + std::to_string(rank) + "\n";
  }
  return lines;
}

Tokenizer LoadRanks(const std::string& lines) {
  const testing::TempDir dir;
  testing::WriteFile(dir / "x.tiktoken", lines);
  return Tokenizer::Load(dir.path());
}

TEST_CASE("tiktoken: the pair of lowest rank merges, within the pieces of the known split") {
  const Tokenizer tokenizer = LoadRanks(PairRanks());
  CHECK(tokenizer.vocab_size() == 50257);
  CHECK(tokenizer.adds_bos() == false);
  const auto pair = [](char a, char b) { return static_cast<uint32_t>(256 + 256 * a + b); };
  CHECK(tokenizer.Encode("ba") == std::vector<uint32_t>{pair('b', 'a')});
  CHECK(tokenizer.Encode("cab") == std::vector<uint32_t>{'c', pair('a', 'b')});
  CHECK(tokenizer.Encode("a b") == std::vector<uint32_t>{'a', pair(' ', 'b')});
  CHECK(tokenizer.Encode("").empty());
}

TEST_CASE("tiktoken: Qwen's splits by the number of ranks, of text that is composed first") {
  const auto pair = [](uint32_t a, uint32_t b) { return 256 + 256 * a + b; };
  const Tokenizer first = LoadRanks(PairRanks(151643));
  const Tokenizer later = LoadRanks(PairRanks(248044));
  CHECK(first.vocab_size() == 151851);
  CHECK(later.vocab_size() == 248077);
  // No letter is composed of these two; from Qwen3.5 on marks belong to a word.
  CHECK(first.Encode("q\u0301") == std::vector<uint32_t>{'q', pair(0xcc, 0x81)});
  CHECK(later.Encode("q\u0301") == std::vector<uint32_t>{pair('q', 0xcc), 0x81});
  for (const Tokenizer& tokenizer : {first, later})
    CHECK(tokenizer.Encode("e\u0301") == std::vector<uint32_t>{pair(0xc3, 0xa9)});
}

TEST_CASE("tiktoken: lines that are none, ranks twice or left out") {
  const std::string good = PairRanks();
  CHECK_ERROR(LoadRanks("IQ== 0\nIg== 1\nIw== 2\n"), "x.tiktoken", "of 3 ranks", "r50k_base");
  CHECK_ERROR(LoadRanks("IQ== 0\nwhat\n"), "x.tiktoken", "line 2", "\"what\"");
  CHECK_ERROR(LoadRanks(good + "I 7\n"), "x.tiktoken", "line 50257", "\"I 7\"");
  CHECK_ERROR(LoadRanks(good + "IQ==\n"), "line 50257");
  CHECK_ERROR(LoadRanks(good + "I=Q= 50256\n"), "line 50257");
  CHECK_ERROR(LoadRanks(good + "\n\n"), "line 50257");
  const std::string less = PairRanks(50255);
  CHECK_ERROR(LoadRanks(less + "AAAA 7\n"), "has the id of another one");
  CHECK_ERROR(LoadRanks(less + "AA== 50255\n"), "has the text of another one");
  CHECK_ERROR(LoadRanks(less + "AAAA 60000\n"), "expected the ranks below 50256, found 60000");
  CHECK_ERROR(LoadRanks(less + "AAAA 99999999999\n"), "line 50256");
}

}  // namespace
}  // namespace quantref
