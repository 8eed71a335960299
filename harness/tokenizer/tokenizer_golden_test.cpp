// Tiny tokenizers of each kind against Hugging Face's `tokenizers`
// (scripts/goldens/make_tokenizers.py).

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/io/json_file.h"
#include "harness/testing/testing.h"
#include "harness/tokenizer/pattern.h"
#include "harness/tokenizer/tokenizer.h"
#include "harness/tokenizer/traced_text.h"

namespace quantref {
namespace {

std::filesystem::path TokenizerData() {
  return testing::SourceDir() / "harness/tokenizer/testdata";
}

const nlohmann::json& TokenizerGoldens() {
  static const nlohmann::json goldens = ReadJsonFile(TokenizerData() / "goldens.json");
  return goldens;
}

// splitmix64 (Steele et al. 2014), as the script has it.
class TextDraw {
 public:
  explicit TextDraw(uint64_t seed) : state_(seed) {}
  uint64_t Below(uint64_t limit) {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return (z ^ (z >> 31)) % limit;
  }

 private:
  uint64_t state_;
};

std::vector<std::string> RandomTexts() {
  const nlohmann::json& goldens = TokenizerGoldens();
  const auto fragments = goldens["fragments"].get<std::vector<std::string>>();
  const auto ranges = goldens["ranges"].get<std::vector<std::pair<uint32_t, uint32_t>>>();
  uint64_t total = 0;
  for (const auto& [first, last] : ranges) total += last - first + 1;
  TextDraw draw(goldens["seed"].get<uint64_t>());
  const auto random_character = [&] {
    uint64_t place = draw.Below(total);
    for (const auto& [first, last] : ranges) {
      if (place <= last - first) return Utf8Of(first + static_cast<uint32_t>(place));
      place -= last - first + 1;
    }
    return std::string();
  };
  std::vector<std::string> texts(goldens["strings"].get<size_t>());
  for (std::string& text : texts) {
    for (uint64_t left = draw.Below(30); left > 0; --left) {
      const uint64_t kind = draw.Below(8);
      if (kind < 3) {
        text += static_cast<char>(0x20 + draw.Below(0x5F));
      } else {
        text += kind < 6 ? fragments[draw.Below(fragments.size())] : random_character();
      }
    }
  }
  return texts;
}

TEST_CASE("tokenizer goldens: awkward texts have the ids of Hugging Face's tokenizers") {
  const auto texts = TokenizerGoldens()["texts"].get<std::vector<std::string>>();
  for (const auto& [name, golden] : TokenizerGoldens()["tokenizers"].items()) {
    const Tokenizer tokenizer = Tokenizer::Load(TokenizerData() / (name + ".json"));
    for (size_t i = 0; i < texts.size(); ++i) {
      INFO(name << ": " << Quoted(texts[i]));
      CHECK(tokenizer.Encode(texts[i]) == golden["ids"][i].get<std::vector<uint32_t>>());
    }
  }
}

TEST_CASE("tokenizer goldens: 10,000 random texts have the ids of Hugging Face's tokenizers") {
  const std::vector<std::string> texts = RandomTexts();
  for (const auto& [name, golden] : TokenizerGoldens()["tokenizers"].items()) {
    INFO(name);
    const Tokenizer tokenizer = Tokenizer::Load(TokenizerData() / (name + ".json"));
    std::vector<uint32_t> all;
    size_t misplaced = 0;
    for (const std::string& text : texts) {
      const Tokenizer::Placed placed = tokenizer.EncodePlaced(text);
      all.push_back(static_cast<uint32_t>(placed.ids.size()));
      all.insert(all.end(), placed.ids.begin(), placed.ids.end());
      const auto& begins = placed.begins;
      const bool right = std::is_sorted(begins.begin(), begins.end()) &&
                         (begins.empty() || (begins[0] == 0 && begins.back() < text.size()));
      misplaced += right ? 0 : 1;
    }
    CHECK(Sha256Hex(std::span<const uint32_t>(all)) == golden["sha256"].get<std::string>());
    CHECK(misplaced == 0);
  }
}

TEST_CASE("tokenizer goldens: each token has its own bytes of the text") {
  const Tokenizer tokenizer = Tokenizer::Load(TokenizerData() / "qwen2.json");
  const std::string text = "ca\x66\x65\xcc\x81 \xf0\x9f\x98\x80!";  // e and its accent are composed
  const Tokenizer::Placed placed = tokenizer.EncodePlaced(text);
  const auto accent = static_cast<uint32_t>(text.find('e'));
  CHECK(std::find(placed.begins.begin(), placed.begins.end(), accent + 1) == placed.begins.end());
  CHECK(std::find(placed.begins.begin(), placed.begins.end(), accent + 3) != placed.begins.end());
  CHECK(placed.begins.back() == text.size() - 1);
}

TEST_CASE("tokenizer goldens: what is not UTF-8 counts as U+FFFD") {
  for (const char* name : {"gpt2.json", "llama2.json"}) {
    const Tokenizer tokenizer = Tokenizer::Load(TokenizerData() / name);
    CHECK(tokenizer.Encode("a\xff\xc3 b\xed\xa0\x80") ==
          tokenizer.Encode("a\xef\xbf\xbd\xef\xbf\xbd b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
    const Tokenizer::Placed placed = tokenizer.EncodePlaced(
        "a\xff"
        "b");
    CHECK(placed.begins.back() == 2);
  }
}

// The bytes where matches begin or end, and the text does.
std::vector<uint32_t> CutsOf(const std::string& expression, const std::string& text) {
  std::set<size_t> ends = {text.size()};
  for (const Span& match : Pattern::Regex(expression, "golden").FindAll(text)) {
    ends.insert(match.begin);
    ends.insert(match.end);
  }
  ends.erase(0);
  return {ends.begin(), ends.end()};
}

TEST_CASE("pattern: texts are cut where Oniguruma cuts them") {
  const nlohmann::json& golden = TokenizerGoldens()["patterns"];
  auto words = golden["words"].get<std::vector<std::string>>();
  const std::vector<std::string> forth = words;
  words.insert(words.end(), forth.rbegin(), forth.rend());
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  const std::vector<std::string> random = RandomTexts();
  for (size_t i = 0; i < golden["texts"].get<size_t>(); ++i) text += "\n" + random[i];
  REQUIRE(golden["cuts"].size() > 40);
  for (const auto& [expression, sha256] : golden["cuts"].items()) {
    INFO(expression);
    const std::vector<uint32_t> cuts = CutsOf(expression, text);
    CHECK(Sha256Hex(std::span(cuts)) == sha256.get<std::string>());
  }
}

}  // namespace
}  // namespace quantref
