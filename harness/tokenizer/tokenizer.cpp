#include "harness/tokenizer/tokenizer.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/tokenizer/sentencepiece.h"
#include "harness/tokenizer/text_encoder.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxModelBytes = size_t{256} << 20;

// Explains a tokenizer.model that is not there.
void CheckPresent(const fs::path& file) {
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(file, ignored))) return;
  const bool has_json = fs::exists(file.parent_path() / "tokenizer.json", ignored);
  throw Error(std::string("expected a SentencePiece model, found ") +
                  (has_json ? "only tokenizer.json" : "no such file"),
              file.string(),
              has_json ? "only SentencePiece tokenizers (tokenizer.model) are supported"
                       : "a model folder needs its tokenizer.model");
}

std::optional<bool> ReadAddsBos(const fs::path& file) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return std::nullopt;
  const nlohmann::json json = ReadJsonFile(file);
  if (!json.is_object()) throw Error("expected a JSON object", file.string());
  const auto rule = json.find("add_bos_token");
  if (rule == json.end() || rule->is_null()) return std::nullopt;
  if (!rule->is_boolean()) {
    throw Error("add_bos_token: expected true or false, found " + rule->dump(), file.string());
  }
  return rule->get<bool>();
}

}  // namespace

Tokenizer::Tokenizer(TokenizerFacts facts, std::shared_ptr<const TextEncoder> encoder)
    : facts_(std::move(facts)), encoder_(std::move(encoder)) {}

Tokenizer Tokenizer::Load(const fs::path& path) {
  std::error_code ignored;
  const fs::path file = fs::is_directory(path, ignored) ? path / "tokenizer.model" : path;
  CheckPresent(file);
  Tokenizer tokenizer = SentencePieceTokenizer(ReadInput(file, kMaxModelBytes));
  tokenizer.facts_.adds_bos = ReadAddsBos(file.parent_path() / "tokenizer_config.json");
  return tokenizer;
}

std::vector<uint32_t> Tokenizer::Encode(std::string_view text) const {
  return EncodePlaced(text).ids;
}

Tokenizer::Placed Tokenizer::EncodePlaced(std::string_view text) const {
  static_assert(kMaxTextBytes < std::numeric_limits<int>::max(), "SentencePiece counts in int");
  if (text.size() > kMaxTextBytes) {
    throw Error("too much text to tokenize: expected at most " + std::to_string(kMaxTextBytes) +
                    " bytes, found " + std::to_string(text.size()),
                facts_.path);
  }
  Placed placed = encoder_->Encode(text);
  QR_DCHECK_EQ(placed.ids.size(), placed.begins.size());
  if (!placed.begins.empty()) placed.begins[0] = 0;
  return placed;
}

}  // namespace quantref
