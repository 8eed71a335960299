#include "harness/tokenizer/tokenizer_config.h"

#include <charconv>

#include "harness/base/error.h"
#include "harness/io/file.h"
#include "harness/io/json_file.h"
#include "harness/io/json_reader.h"
#include "harness/tokenizer/json_node.h"

namespace quantref {
namespace {

// A token stands there as text or as an object with its content.
std::optional<std::string> ContentOf(const std::optional<JsonNode>& token) {
  if (!token) return std::nullopt;
  if (token->value().IsMap()) return token->Get("content").Text();
  return token->Text();
}

std::vector<TokenizerConfig::Added> ReadAdded(const JsonNode& tokens) {
  std::vector<TokenizerConfig::Added> added;
  for (const auto& [key, value] : tokens.Map().value().Entries()) {
    const JsonNode token = tokens.Get(key);
    uint32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size()) {
      token.Fail("expected a token id as the key, found " + Quoted(key));
    }
    added.push_back({id, token.Get("content").Text(), token.FlagOr("special", false),
                     token.FlagOr("lstrip", false), token.FlagOr("rstrip", false)});
  }
  return added;
}

}  // namespace

TokenizerConfig ReadTokenizerConfig(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "tokenizer_config.json";
  TokenizerConfig config;
  config.path = file.string();
  if (!IsPresent(file)) return config;
  const JsonDocument document = JsonDocument::Read(file);
  const JsonNode root(document.root(), "", config.path);
  root.Map();
  if (const auto rule = root.Find("add_bos_token")) config.add_bos = rule->Flag();
  config.bos_token = ContentOf(root.Find("bos_token"));
  config.tokenizer_class = ContentOf(root.Find("tokenizer_class"));
  config.add_prefix_space = root.FlagOr("add_prefix_space", false);
  if (const auto tokens = root.Find("added_tokens_decoder")) config.added = ReadAdded(*tokens);
  return config;
}

uint32_t BosIdOf(const TokenizerConfig& config, std::optional<uint32_t> found) {
  if (found) return *found;
  throw Error("bos_token: " + Quoted(*config.bos_token) + " is none of the tokenizer's tokens",
              config.path, "name one that it has, or null: texts may begin with it");
}

}  // namespace quantref
