#include "harness/tokenizer/known_splits.h"

#include <algorithm>
#include <array>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

using Expressions = std::vector<std::string_view>;

constexpr std::string_view kGpt =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|)"
    R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kCl100k =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++\z|\s*[\r\n]|\s+(?!\S)|\s)";
constexpr std::string_view kCjk = R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)";
constexpr std::string_view kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";

std::vector<SplitStep> Steps(const Expressions& expressions) {
  std::vector<SplitStep> steps;
  for (const std::string_view expression : expressions) {
    steps.emplace_back(SplitByPattern{Pattern::Regex(expression, "a known split")});
  }
  return steps;
}

struct Row {
  std::vector<std::string_view> names;
  Expressions expressions;
  bool takes_whole = false, adds_bos = false;
};

const std::vector<Row>& GgufRows() {
  static const std::vector<Row> rows = {
      {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4",
        "mellum"},
       {kGpt}},
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
        "mellum2"},
       {kDigit, kGpt}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "lfm2", "midm-2.0"},
       {kLlama3},
       true,
       true},
      {{"dbrx", "smaug-bpe", "chatglm-bpe"}, {kLlama3}},
      {{"glm4"}, {kLlama3}, true},
      {{"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "grok-2"}, {kQwen2}},
      {{"qwen35"}, {kQwen35}},
      {{"gpt-4o", "llama4"}, {kO200k}},
      {{"tekken"}, {kTekken}, true, true},
      {{"deepseek-coder"}, {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjk, kDigit}},
      {{"deepseek-v3"}, {R"(\p{N}{1,3})", R"([\x{4e00}-\x{9fa5}\x{3040}-\x{30ff}]+)", kDeepseek3}},
      {{"default"}, {R"([\p{P}\$\+<=>\^~\|]+)", kGpt, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
      {{"falcon"}, {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt, "[0-9][0-9][0-9]"}},
  };
  return rows;
}

}  // namespace

KnownSplit SplitOfGguf(std::string_view pre, const std::string& where) {
  std::string known;
  for (const Row& row : GgufRows()) {
    if (std::find(row.names.begin(), row.names.end(), pre) != row.names.end()) {
      return {Steps(row.expressions), row.takes_whole, row.adds_bos};
    }
    for (const std::string_view name : row.names)
      known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw Error("tokenizer.ggml.pre: " + Quoted(pre) + " is not supported", where,
              "those that are: " + known);
}

std::vector<SplitStep> SplitOfVocabulary(std::string_view name) {
  struct Named {
    std::string_view name, expression;
  };
  constexpr std::array<Named, 6> kNamed = {{{"gpt2", kGpt},
                                            {"llama3", kLlama3},
                                            {"qwen2", kQwen2},
                                            {"qwen35", kQwen35},
                                            {"cl100k", kCl100k},
                                            {"o200k", kO200k}}};
  const auto* found = std::find_if(kNamed.begin(), kNamed.end(),
                                   [&](const Named& one) { return one.name == name; });
  QR_CHECK(found != kNamed.end());
  return Steps({found->expression});
}

SplitStep GptSplit() { return Steps({kGpt}).front(); }

}  // namespace quantref
