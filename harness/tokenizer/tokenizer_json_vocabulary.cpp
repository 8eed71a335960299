#include "harness/tokenizer/tokenizer_json_vocabulary.h"

namespace quantref {

std::optional<TokenPair> SplitMerge(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == text.size() ||
      text.find(' ', space + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return TokenPair(text.substr(0, space), text.substr(space + 1));
}

std::vector<FileToken> ReadVocabulary(const JsonNode& node) {
  std::vector<FileToken> tokens;
  for (const auto& [text, id] : node.Map().value().Entries()) {
    const auto number = id.Natural();
    if (!number || *number >= JsonNode::kIdsEnd) node.Get(text).FailExpecting("a token id");
    tokens.push_back({std::string(text), static_cast<uint32_t>(*number)});
  }
  return tokens;
}

namespace {

// "a b" or ["a", "b"]; nothing for others.
std::optional<TokenPair> MergeOf(const JsonValue& value) {
  if (value.IsList()) {
    const std::vector<JsonValue> sides = value.Items();
    if (sides.size() != 2 || !sides[0].IsText() || !sides[1].IsText()) return std::nullopt;
    if (sides[0].Text().empty() || sides[1].Text().empty()) return std::nullopt;
    return TokenPair(sides[0].Text(), sides[1].Text());
  }
  if (!value.IsText()) return std::nullopt;
  return SplitMerge(value.Text());
}

}  // namespace

std::vector<TokenPair> ReadMerges(const JsonNode& node) {
  if (!node.value().IsList()) node.FailExpecting("a list");
  std::vector<TokenPair> merges;
  for (const JsonValue& value : node.value().Items()) {
    auto merge = MergeOf(value);
    if (!merge) {
      node.Items()[merges.size()].FailExpecting("two tokens, a list or with a space between");
    }
    merges.push_back(std::move(*merge));
  }
  return merges;
}

}  // namespace quantref
