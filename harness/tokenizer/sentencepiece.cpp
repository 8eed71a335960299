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

// A field of a message in protobuf's wire format: a number, or bytes.
struct WireField {
  uint64_t number = 0, value = 0;
  std::optional<std::string_view> bytes{};
};

// visit(field) judges the fields of a message. False if it says so once, or if the message is
// malformed or has groups, which no SentencePiece model uses: what this cannot follow must not
// reach the library unjudged.
template <typename Visitor>
bool AllFields(std::string_view message, const Visitor& visit) {
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
        if (!read_varint(value) || !visit(WireField{tag >> 3, value})) return false;
        break;
      case 1:  // 64 bits
      case 5:  // 32 bits
        value = (tag & 7) == 1 ? 8 : 4;
        if (value > message.size()) return false;
        message.remove_prefix(value);
        break;
      case 2:  // length, bytes
        if (!read_varint(value) || value > message.size()) return false;
        if (!visit(WireField{tag >> 3, 0, message.substr(0, value)})) return false;
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
  return AllFields(model, [](const WireField& field) {
    if (!field.bytes || (field.number != 3 && field.number != 5))
      return true;  // only ModelProto.normalizer_spec, denormalizer_spec
    return AllFields(*field.bytes, [](const WireField& inner) {
      return !inner.bytes || inner.number != 2 || IsSafeCharacterMap(*inner.bytes);
    });
  });
}

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // stands for a space in pieces

// Whether a text's pieces are those of its parts, cut at single spaces, one behind the other:
// merges of BPE, no character map, a mark put before every text as a space would put it, and no
// piece in which a mark follows something else. Then nothing merges across such a space, and the
// mark of the part behind stands for it.
bool EncodesInParts(std::string_view model,
                    const sentencepiece::SentencePieceProcessor& processor) {
  constexpr uint64_t kBpe = 2;
  // Defaults of sentencepiece_model.proto.
  uint64_t type = 1;
  bool suffix = false, prefix = true, trims = true, escapes = true, maps = false;
  AllFields(model, [&](const WireField& spec) {
    if (!spec.bytes || (spec.number != 2 && spec.number != 3)) return true;
    return AllFields(*spec.bytes, [&](const WireField& field) {
      const bool trainer = spec.number == 2, set = field.value != 0;
      if (trainer && field.number == 3) type = field.value;
      if (trainer && field.number == 24) suffix = set;  // treat_whitespace_as_suffix
      if (!trainer && field.number == 2) maps = maps || !field.bytes || !field.bytes->empty();
      if (!trainer && field.number == 3) prefix = set;  // add_dummy_prefix
      if (!trainer && field.number == 4) trims = set;   // remove_extra_whitespaces
      if (!trainer && field.number == 5) escapes = set;
      return true;
    });
  });
  if (type != kBpe || suffix || !prefix || trims || !escapes || maps) return false;
  if (processor.PieceToId(kSpaceMark) == processor.unk_id()) return false;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string_view piece = processor.IdToPiece(id);
    size_t begin = 0;
    while (piece.substr(begin).starts_with(kSpaceMark)) begin += kSpaceMark.size();
    if (piece.find(kSpaceMark, begin) != std::string_view::npos ||
        piece.find(' ') != std::string_view::npos)
      return false;
  }
  return true;
}

// Where the next part of so many bytes or more ends: at a single space, or with the text.
size_t EndOfPart(std::string_view text, size_t begin, size_t least) {
  for (size_t at = text.find(' ', begin + least); at != std::string_view::npos;
       at = text.find(' ', at + 1)) {
    const bool between = at > begin && at + 1 < text.size() && text[at - 1] != ' ' &&
                         text[at + 1] != ' ' && !text.substr(0, at).ends_with(kSpaceMark);
    if (between) return at;
  }
  return text.size();
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
    constexpr std::string_view kStart = "exception: ";
    const size_t mark = what.find(kStart);
    return mark == std::string::npos ? what : what.substr(mark + kStart.size());
  }
}

class SentencePieceEncoder final : public TextEncoder {
 public:
  explicit SentencePieceEncoder(std::string path) : path_(std::move(path)) {}

  Tokenizer::Placed Encode(std::string_view text) const override {
    if (!in_parts) return EncodeWhole(text);
    // The library's time grows faster than the text: its heap and symbols leave the caches.
    constexpr size_t kPart = 8192;
    Tokenizer::Placed all;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = EndOfPart(text, begin, kPart);
      const Tokenizer::Placed part = EncodeWhole(text.substr(begin, end - begin));
      all.ids.insert(all.ids.end(), part.ids.begin(), part.ids.end());
      for (size_t i = 0; i < part.begins.size(); ++i) {
        const bool is_space = i == 0 && begin > 0;  // the mark before the part stands for it
        all.begins.push_back(static_cast<uint32_t>(is_space ? begin - 1 : begin + part.begins[i]));
      }
      begin = end + (end < text.size() ? 1 : 0);
    }
    return all;
  }

  sentencepiece::SentencePieceProcessor processor;
  bool in_parts = false;  // EncodesInParts

 private:
  Tokenizer::Placed EncodeWhole(std::string_view text) const {
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
  encoder->in_parts = EncodesInParts(contents, encoder->processor);
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
