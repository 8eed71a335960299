#include "harness/testing/tiny_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/testing/safetensors_builder.h"
#include "harness/testing/testing.h"

namespace quantref::testing {
namespace {

namespace fs = std::filesystem;

size_t Elements(const std::vector<size_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), size_t{1}, std::multiplies<>());
}

size_t ElementBytes(const FileTensor& tensor) {
  return tensor.bytes.size() / Elements(tensor.shape);
}

// Draws the tensors of one model in a fixed order.
class Drawer {
 public:
  explicit Drawer(const TinyModel& model) : dtype_(model.dtype), rng_(model.seed) {}

  void Norm(const std::string& name, size_t size) {
    Add(name, {size}, [this] { return 0.5 + rng_.Uniform(); });
  }
  void Linear(const std::string& name, size_t out, size_t in, double gain, bool bias) {
    const double deviation = gain / std::sqrt(static_cast<double>(in));
    Add(name + ".weight", {out, in}, [&] { return deviation * rng_.Normal(); });
    if (bias) Add(name + ".bias", {out}, [this] { return 0.5 * rng_.Normal(); });
  }
  FileTensors Take() { return std::move(tensors_); }

 private:
  template <typename Draw>
  void Add(const std::string& name, const std::vector<size_t>& shape, Draw draw) {
    std::vector<float> values(Elements(shape));
    for (float& value : values) value = static_cast<float>(draw());
    tensors_[name] = {dtype_, shape, Stored(values, dtype_)};
  }

  std::string dtype_;
  Rng rng_;
  FileTensors tensors_;
};

}  // namespace

std::string Stored(std::span<const float> values, std::string_view dtype) {
  if (dtype == "F32") return BytesOf(values);
  std::vector<uint16_t> narrow;
  for (float value : values) {
    narrow.push_back(dtype == "F16" ? FloatToHalf(value)
                                    : static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
  }
  return BytesOf(std::span<const uint16_t>(narrow));
}

nlohmann::json TinyConfig(const TinyModel& model) {
  nlohmann::json config = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"hidden_act", "silu"},
      {"hidden_size", model.hidden},
      {"intermediate_size", model.intermediate},
      {"num_hidden_layers", model.layers},
      {"num_attention_heads", model.heads},
      {"num_key_value_heads", model.kv_heads},
      {"head_dim", model.head_dim},
      {"max_position_embeddings", model.context},
      {"rms_norm_eps", 1e-5},
      {"rope_theta", 10000.0},
      {"attention_bias", model.attention_bias},
      {"mlp_bias", model.mlp_bias},
      {"tie_word_embeddings", model.tied},
      {"vocab_size", model.vocab},
      {"bos_token_id", 1},
  };
  if (model.sliding_window == 0) return config;
  config["architectures"] = {"MistralForCausalLM"};
  config["model_type"] = "mistral";
  config["sliding_window"] = model.sliding_window;
  return config;
}

FileTensors TinyTensors(const TinyModel& model) {
  Drawer drawer(model);
  const size_t q = model.heads * model.head_dim, kv = model.kv_heads * model.head_dim;
  drawer.Linear("model.embed_tokens", model.vocab, model.hidden, 2.0, false);
  for (size_t i = 0; i < model.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    drawer.Norm(layer + "input_layernorm.weight", model.hidden);
    drawer.Norm(layer + "post_attention_layernorm.weight", model.hidden);
    const auto linear = [&](const char* name, size_t out, size_t in, bool bias) {
      drawer.Linear(layer + name, out, in, 1.5, bias);
    };
    linear("self_attn.q_proj", q, model.hidden, model.attention_bias);
    linear("self_attn.k_proj", kv, model.hidden, model.attention_bias);
    linear("self_attn.v_proj", kv, model.hidden, model.attention_bias);
    linear("self_attn.o_proj", model.hidden, q, model.attention_bias);
    linear("mlp.gate_proj", model.intermediate, model.hidden, model.mlp_bias);
    linear("mlp.up_proj", model.intermediate, model.hidden, model.mlp_bias);
    linear("mlp.down_proj", model.hidden, model.intermediate, model.mlp_bias);
  }
  drawer.Norm("model.norm.weight", model.hidden);
  if (!model.tied) drawer.Linear("lm_head", model.vocab, model.hidden, 2.0, false);
  return drawer.Take();
}

void WriteTinyModel(const fs::path& dir, const TinyModel& model) {
  WriteFile(dir / "config.json", TinyConfig(model).dump());
  WriteTensors(dir, TinyTensors(model));
}

void WriteTensors(const fs::path& dir, const FileTensors& tensors) {
  std::vector<FileTensors::const_pointer> widest_first;  // keeps every element aligned
  for (const auto& entry : tensors) widest_first.push_back(&entry);
  std::stable_sort(widest_first.begin(), widest_first.end(), [](const auto* a, const auto* b) {
    return ElementBytes(a->second) > ElementBytes(b->second);
  });
  SafetensorsBuilder builder;
  for (const auto* entry : widest_first) {
    builder.Add(entry->first, entry->second.dtype, entry->second.shape, entry->second.bytes);
  }
  builder.Write(dir / "model.safetensors");
}

void CopyTokenizer(const fs::path& dir) {
  fs::copy_file(ReferenceModel("wikilm-2m") / "tokenizer.model", dir / "tokenizer.model");
}

namespace {

// The fields of a protobuf message of which all are bytes, each as it stands there.
std::vector<std::string_view> FieldsOf(std::string_view message) {
  std::vector<std::string_view> fields;
  while (!message.empty()) {
    size_t at = 1, length = 0;  // behind the tag, which is a byte
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(message.at(at++));
      length |= static_cast<size_t>(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    fields.push_back(message.substr(0, at + length));
    message.remove_prefix(fields.back().size());
  }
  return fields;
}

}  // namespace

// Control pieces, bytes and merges stand in front, the most frequent first; behind these the
// characters.
void WriteFewPieces(const fs::path& dir) {
  constexpr char kPieceTag = 1 << 3 | 2;
  constexpr size_t kAllCharacters = 889, kCharacters = 128;
  const size_t first_character = kTokenizerPieces - kAllCharacters;
  const std::string whole = FileText(ReferenceModel("wikilm-2m") / "tokenizer.model");
  std::string few;
  size_t piece = 0;
  for (const std::string_view field : FieldsOf(whole)) {
    const bool is_piece = field.front() == kPieceTag;
    const bool is_character = piece >= first_character && piece < first_character + kCharacters;
    if (!is_piece || piece < kFewPieces - kCharacters || is_character) few += field;
    piece += is_piece ? 1 : 0;
  }
  WriteFile(dir / "tokenizer.model", few);
}

namespace {

// A field of bytes of a protobuf message.
std::string ProtobufField(char number, const std::string& bytes) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}

// Of a SentencePiece model. Types: 1 normal, 2 unknown, 3 control, 5 unused.
std::string Piece(const std::string& text, char type) {
  const std::string score("\x15\0\0\x80\xbf", 5);  // -1
  return ProtobufField(1, ProtobufField(1, text) + score + std::string{'\x18', type});
}

}  // namespace

void WriteLetterTokenizer(const fs::path& dir, bool bos) {
  std::string model = Piece("<unk>", 2) + (bos ? Piece("<s>", 3) : Piece("<none>", 5));
  model += Piece("</s>", 3) + Piece("\xe2\x96\x81", 1) + Piece("\n", 1) + Piece(".", 1);
  for (char letter = 'a'; letter <= 'z'; ++letter) model += Piece(std::string(1, letter), 1);
  WriteFile(dir / "tokenizer.model", model);
}

}  // namespace quantref::testing
