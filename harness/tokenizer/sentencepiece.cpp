#include "harness/tokenizer/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/foreign.h"
#include "harness/tokenizer/text_encoder.h"

// Exported by the library, but its 0.1.97 header does not declare it.
namespace sentencepiece::logging {
void SetMinLogLevel(int level);
}  // namespace sentencepiece::logging

namespace quantref {

namespace {

// The protobuf wire format, as far as is needed to find a field of bytes: visit(number, bytes)
// judges each field of that kind. False if it says so once, or if the message is malformed or has
// groups, which no SentencePiece model uses: what this cannot follow must not reach the library
// unjudged.
template <typename Visitor>
bool AllByteFields(std::string_view message, const Visitor& visit) {
  const auto read_varint = [&message](uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !message.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(message[0]);
      message.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  };
  uint64_t tag = 0, value = 0;
  while (!message.empty()) {
    if (!read_varint(tag)) return false;
    switch (tag & 7) {
      case 0:  // varint
        if (!read_varint(value)) return false;
        break;
      case 1:  // 64 bits
      case 5:  // 32 bits
        value = (tag & 7) == 1 ? 8 : 4;
        if (value > message.size()) return false;
        message.remove_prefix(value);
        break;
      case 2:  // length, bytes
        if (!read_varint(value) || value > message.size()) return false;
        if (!visit(tag >> 3, message.substr(0, value))) return false;
        message.remove_prefix(value);
        break;
      default:
        return false;
    }
  }
  return true;
}

uint32_t LittleEndian32(std::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[offset + i])) << (8 * i);
  }
  return value;
}

// The library walks a normalizer's character map without bounds, so that a corrupt one would make
// it read anywhere. The map: 4 bytes with the size of a double-array trie, the trie, then
// NUL-terminated strings. A trie unit (Yata et al., darts-clone; 32 bits) leads to a block of units
// at index ^ offset, from where a byte of text selects index ^ byte; with bit 8 set, the block's
// first unit holds a value: where in the strings the replacement starts.
bool IsSafeCharacterMap(std::string_view map) {
  if (map.empty()) return true;
  if (map.size() < 4) return false;
  const size_t trie_bytes = LittleEndian32(map, 0);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > map.size() - 4) return false;
  const std::string_view trie = map.substr(4, trie_bytes);
  const std::string_view strings = map.substr(4 + trie_bytes);
  if (strings.empty() || strings.back() != '\0') return false;
  const size_t units = trie_bytes / 4;
  for (size_t index = 0; index < units; ++index) {
    const uint32_t unit = LittleEndian32(trie, 4 * index);
    // A value: no byte of text leads here. But texts begin at unit 0, whatever it is.
    if (index > 0 && (unit >> 31) != 0) continue;
    const size_t block = index ^ (static_cast<size_t>(unit >> 10) << ((unit & 0x200) >> 6));
    if ((block | 0xff) >= units) return false;
    const bool has_value = ((unit >> 8) & 1) != 0;
    if (has_value && (LittleEndian32(trie, 4 * block) & 0x7fffffff) >= strings.size()) return false;
  }
  return true;
}

bool IsSafeModel(std::string_view model) {
  return AllByteFields(model, [](uint64_t field, std::string_view normalizer) {
    if (field != 3 && field != 5)
      return true;  // only ModelProto.normalizer_spec, denormalizer_spec
    return AllByteFields(normalizer, [](uint64_t subfield, std::string_view map) {
      return subfield != 2 || IsSafeCharacterMap(map);  // precompiled_charsmap
    });
  });
}

// Loads the model. What the library has against it; nothing where it takes it.
std::optional<std::string> LoadReason(sentencepiece::SentencePieceProcessor& processor,
                                      const std::string& model) {
  try {
    const auto status = processor.LoadFromSerializedProto(model);
    return status.ok() ? std::nullopt : std::optional(std::string(status.error_message()));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {  // of its trie, with file and line of its sources before
    const std::string what = error.what();
    constexpr std::string_view kMark = "exception: ";
    const size_t mark = what.find(kMark);
    return mark == std::string::npos ? what : what.substr(mark + kMark.size());
  }
}

class SentencePieceEncoder final : public TextEncoder {
 public:
  explicit SentencePieceEncoder(std::string path) : path_(std::move(path)) {}

  Tokenizer::Placed Encode(std::string_view text) const override {
    sentencepiece::ImmutableSentencePieceText encoded;
    const auto status = processor.Encode(text, encoded.mutable_proto());
    if (!status.ok()) {
      throw Error(std::string("cannot tokenize: ") + status.error_message(), path_);
    }
    const auto pieces = encoded.pieces();
    Tokenizer::Placed placed{std::vector<uint32_t>(pieces.size()),
                             std::vector<uint32_t>(pieces.size())};
    auto next = static_cast<uint32_t>(text.size());
    for (size_t i = pieces.size(); i-- > 0;) {
      // Where the library says that one begins which stands for nothing means nothing.
      if (pieces[i].begin() < pieces[i].end()) next = std::min(next, pieces[i].begin());
      placed.ids[i] = pieces[i].id();
      placed.begins[i] = next;
    }
    return placed;
  }

  sentencepiece::SentencePieceProcessor processor;

 private:
  std::string path_;
};

std::optional<uint32_t> KnownId(int id) {
  if (id < 0) return std::nullopt;
  return static_cast<uint32_t>(id);
}

}  // namespace

Tokenizer SentencePieceTokenizer(FileContents file, const TokenizerConfig& config) {
  const std::string path = file.file.path().string();
  const std::string& contents = file.bytes;
  const auto refuse = [&](const std::string& reason) {
    throw Error("expected a SentencePiece model, found " + std::to_string(contents.size()) +
                    " bytes that are none: " + reason,
                path, "download the file again");
  };
  if (contents.empty()) refuse("the file is empty");
  RefuseForeign(contents, "a SentencePiece model", path);
  if (!IsSafeModel(contents)) refuse("malformed, or with a corrupt character map");
  // The library would write what it reports as a status to stderr, too.
  constexpr int kFatalOnly = 3;
  sentencepiece::logging::SetMinLogLevel(kFatalOnly);
  auto encoder = std::make_shared<SentencePieceEncoder>(path);
  if (const auto reason = LoadReason(encoder->processor, contents)) refuse(*reason);
  TokenizerFacts facts = {.kind = "SentencePiece",
                          .path = path,
                          .vocab_size = static_cast<size_t>(encoder->processor.GetPieceSize()),
                          .text_ids_end = static_cast<size_t>(encoder->processor.GetPieceSize()),
                          .bos_id = KnownId(encoder->processor.bos_id()),
                          .unknown_id = KnownId(encoder->processor.unk_id()),
                          .adds_bos = config.add_bos,
                          .sha256 = file.file.sha256(),
                          .files = {std::move(file.file)}};
  return {std::move(facts), std::move(encoder)};
}

}  // namespace quantref
