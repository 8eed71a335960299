#include "harness/testing/tiny_gguf.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "harness/base/rng.h"
#include "harness/model/gguf_config.h"
#include "harness/testing/safetensors_builder.h"
#include "harness/testing/testing.h"

namespace quantref::testing {
namespace {

constexpr std::pair<const char*, const char*> kNames[] = {
    {"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},   {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},   {"self_attn.o_proj", "attn_output"},
    {"mlp.gate_proj", "ffn_gate"},    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},    {"lm_head", "output"},
    {"model.layers", "blk"},
};

std::string GgufName(std::string name) {
  for (const auto& [of_transformers, of_gguf] : kNames) {
    const size_t at = name.find(of_transformers);
    if (at != std::string::npos) name.replace(at, std::string(of_transformers).size(), of_gguf);
  }
  return name;
}

GgufBuilder Keys(const TinyModel& model) {
  const auto u32 = [](size_t number) { return static_cast<uint32_t>(number); };
  return GgufBuilder()
      .Text("general.architecture", "llama")
      .U32("llama.block_count", u32(model.layers))
      .U32("llama.context_length", u32(model.context))
      .U32("llama.embedding_length", u32(model.hidden))
      .U32("llama.feed_forward_length", u32(model.intermediate))
      .U32("llama.attention.head_count", u32(model.heads))
      .U32("llama.attention.head_count_kv", u32(model.kv_heads))
      .U32("llama.attention.key_length", u32(model.head_dim))
      .U32("llama.attention.value_length", u32(model.head_dim))
      .U32("llama.rope.dimension_count", u32(model.head_dim))
      .F32("llama.attention.layer_norm_rms_epsilon",
           TinyConfig(model).at("rms_norm_eps").get<float>())
      .F32("llama.rope.freq_base", TinyConfig(model).value("rope_theta", 10000.0f))
      .U32("tokenizer.ggml.bos_token_id", 1);
}

struct BlockType {
  uint32_t number;
  size_t elements, bytes, halves;  // FP16 numbers at its start
};
constexpr BlockType kBlockTypes[] = {{3, 32, 20, 2}, {8, 32, 34, 1}};

std::string RandomBlocks(const BlockType& type, size_t count, Rng& rng) {
  std::string bytes;
  for (size_t block = 0; block < count; ++block) {
    for (size_t i = 0; i < type.bytes; ++i) bytes += static_cast<char>(rng.Below(256));
    // Exponents of about 2^-9: the numbers of a model that small.
    for (size_t half = 0; half < type.halves; ++half) {
      char& high = bytes[bytes.size() - type.bytes + 2 * half + 1];
      high = static_cast<char>((high & 0x83) | 0x18);
    }
  }
  return bytes;
}

}  // namespace

uint32_t GgmlNumber(const std::string& dtype) {
  return dtype == "F32" ? 0 : dtype == "F16" ? 1 : 30;
}

std::string InFileOrder(const FileTensor& tensor, size_t heads) {
  const size_t rows = tensor.shape[0], row_bytes = tensor.bytes.size() / rows;
  const size_t of_head = rows / heads;
  std::string bytes;
  for (size_t head = 0; head < heads; ++head) {
    for (size_t i = 0; i < of_head / 2; ++i) {
      for (size_t half = 0; half < 2; ++half) {
        const size_t row = head * of_head + half * of_head / 2 + i;
        bytes += tensor.bytes.substr(row * row_bytes, row_bytes);
      }
    }
  }
  return bytes;
}

GgufBuilder TinyGguf(const TinyModel& model) { return TinyGguf(model, TinyTensors(model)); }

GgufBuilder TinyGguf(const TinyModel& model, const FileTensors& tensors) {
  GgufBuilder builder = Keys(model);
  for (const auto& [name, tensor] : tensors) {
    const bool q = name.find("q_proj") != std::string::npos;
    const bool k = name.find("k_proj") != std::string::npos;
    const std::string bytes =
        q || k ? InFileOrder(tensor, q ? model.heads : model.kv_heads) : tensor.bytes;
    builder.Add(GgufName(name), GgmlNumber(tensor.dtype),
                {tensor.shape.rbegin(), tensor.shape.rend()}, bytes);
  }
  return builder;
}

GgufBuilder TinyGgufOfBlocks(const TinyModel& model, uint32_t type, uint64_t seed) {
  const auto row = std::ranges::find(kBlockTypes, type, &BlockType::number);
  if (row == std::end(kBlockTypes)) throw std::logic_error("no such type of random blocks");
  GgufBuilder builder = Keys(model);
  Rng rng(seed);
  for (const auto& [name, tensor] : TinyTensors(model)) {
    const bool vector = tensor.shape.size() == 1;
    const std::vector<uint64_t> shape(tensor.shape.rbegin(), tensor.shape.rend());
    size_t elements = 1;
    for (const size_t dimension : tensor.shape) elements *= dimension;
    builder.Add(GgufName(name), vector ? GgmlNumber(tensor.dtype) : type, shape,
                vector ? tensor.bytes : RandomBlocks(*row, elements / row->elements, rng));
  }
  return builder;
}

LoadedModel LoadGguf(const GgufBuilder& builder, WeightType type) {
  const TempDir dir;
  builder.Write(dir / "model.gguf");
  const auto checkpoint = Checkpoint::Open(dir / "model.gguf");
  ModelConfig config = ReadGgufConfig(*checkpoint);
  ModelWeights weights = LoadWeights(config, checkpoint, type, 2);
  return {std::move(config), std::move(weights)};
}

bool SameNumbers(const Weight& a, const Weight& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  const Matrix<float> of_a = a.Decode(), of_b = b.Decode();
  return std::equal(of_a.data(), of_a.data() + a.rows() * a.cols(), of_b.data());
}

void AddLetterTokenizer(GgufBuilder& builder) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "\xe2\x96\x81", "\n", "."};
  std::vector<int32_t> types = {2, 3, 3, 1, 1, 1};
  for (char letter = 'a'; letter <= 'z'; ++letter) tokens.emplace_back(1, letter);
  types.resize(tokens.size(), 1);
  const std::vector<float> scores(tokens.size(), -1);
  builder.Text("tokenizer.ggml.model", "llama")
      .Text("tokenizer.ggml.pre", "default")
      .Texts("tokenizer.ggml.tokens", tokens)
      .Floats("tokenizer.ggml.scores", scores)
      .Integers("tokenizer.ggml.token_type", types)
      .U32("tokenizer.ggml.unknown_token_id", 0)
      .Bool("tokenizer.ggml.add_bos_token", true);
}

}  // namespace quantref::testing
