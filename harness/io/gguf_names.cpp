#include "harness/io/gguf_names.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>

#include "harness/base/error.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

struct NamePair {
  std::string_view gguf, transformers;
};

// Beside the blocks.
constexpr NamePair kOfModel[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
// Below "blk.N." and "model.layers.N.".
constexpr NamePair kOfBlock[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};
// What architectures have otherwise.
constexpr NamePair kOfGemma[] = {{"post_attention_norm", "post_attention_layernorm"},
                                 {"ffn_norm", "pre_feedforward_layernorm"},
                                 {"post_ffw_norm", "post_feedforward_layernorm"}};
constexpr NamePair kOfPhi3[] = {{"ffn_up", "mlp.gate_up_proj"}};
constexpr std::string_view kRotary[] = {"rope_freqs.weight", "rope_factors_long.weight",
                                        "rope_factors_short.weight"};

bool IsGemma(std::string_view architecture) {
  return architecture == "gemma2" || architecture == "gemma3";
}

template <typename Rows>
std::optional<std::string_view> Look(const Rows& rows, std::string_view name) {
  const auto row = std::ranges::find(rows, name, &NamePair::gguf);
  if (row == std::end(rows)) return std::nullopt;
  return row->transformers;
}

std::optional<std::string_view> NameInBlock(std::string_view architecture, std::string_view name) {
  std::optional<std::string_view> own;
  if (IsGemma(architecture)) own = Look(kOfGemma, name);
  if (architecture == "phi3") own = Look(kOfPhi3, name);
  return own ? own : Look(kOfBlock, name);
}

template <typename Rows>
std::optional<std::string_view> LookBack(const Rows& rows, std::string_view name) {
  const auto row = std::ranges::find(rows, name, &NamePair::transformers);
  if (row == std::end(rows)) return std::nullopt;
  return row->gguf;
}

std::optional<std::string_view> GgufNameInBlock(std::string_view architecture,
                                                std::string_view name) {
  std::optional<std::string_view> own;
  if (IsGemma(architecture)) own = LookBack(kOfGemma, name);
  if (architecture == "phi3") own = LookBack(kOfPhi3, name);
  return own ? own : LookBack(kOfBlock, name);
}

// How many rows a head of q or k has.
size_t HeadRows(const GgufFile& keys, const Tensor& tensor, std::string_view heads_key) {
  const std::string key = "llama.attention." + std::string(heads_key);
  const std::optional<uint64_t> heads =
      keys.Has(key) ? keys.Count(key) : keys.Count("llama.attention.head_count");
  const size_t rows = tensor.shape.front();
  if (heads && *heads > 0 && rows % *heads == 0 && rows / *heads % 2 == 0) return rows / *heads;
  throw Error("expected whole heads of an even number of rows, found " + std::to_string(rows) +
                  " rows and " + (heads ? std::to_string(*heads) : "no number of") + " heads (" +
                  key + ")",
              keys.path().string() + ", tensor " + Quoted(tensor.name));
}

}  // namespace

std::string TransformersName(std::string_view architecture, std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::string(name);
  const std::string_view stem = name.substr(0, dot);
  const std::string suffix(name.substr(dot));
  if (const auto of_model = Look(kOfModel, stem)) return std::string(*of_model) + suffix;
  constexpr std::string_view kBlocks = "blk.";
  const size_t after = stem.find('.', kBlocks.size());
  if (!stem.starts_with(kBlocks) || after == std::string_view::npos) return std::string(name);
  const auto in_block = NameInBlock(architecture, stem.substr(after + 1));
  if (!in_block) return std::string(name);
  const std::string block(stem.substr(kBlocks.size(), after - kBlocks.size()));
  return "model.layers." + block + "." + std::string(*in_block) + suffix;
}

std::string GgufName(std::string_view architecture, std::string_view name) {
  constexpr std::string_view kLayers = "model.layers.";
  const size_t dot = name.rfind('.');
  const std::string_view stem = name.substr(0, dot),
                         suffix = name.substr(std::min(dot, name.size()));
  if (const auto of_model = LookBack(kOfModel, stem))
    return std::string(*of_model) + std::string(suffix);
  if (stem.starts_with(kLayers)) {
    const std::string_view rest = stem.substr(kLayers.size());
    const size_t after = std::min(rest.find('.'), rest.size() - 1);
    if (const auto in_block = GgufNameInBlock(architecture, rest.substr(after + 1))) {
      return "blk." + std::string(rest.substr(0, after)) + "." + std::string(*in_block) +
             std::string(suffix);
    }
  }
  throw Error("GGUF's " + std::string(architecture) + " has no tensor for it", std::string(name));
}

std::vector<Tensor> AsTransformers(const GgufFile& keys, const GgufFile& file) {
  const std::string_view architecture = keys.Text("general.architecture").value_or("");
  std::vector<Tensor> tensors;
  for (const Tensor& stored : file.tensors()) {
    if (std::ranges::count(kRotary, stored.name) > 0) continue;
    Tensor& tensor = tensors.emplace_back(stored);
    tensor.name = TransformersName(architecture, stored.name);
    const auto is = [&](const std::string& part) {
      return tensor.name.ends_with(part + ".weight") || tensor.name.ends_with(part + ".bias");
    };
    if (architecture == "llama" && is(".q_proj"))
      tensor.head_rows = HeadRows(keys, stored, "head_count");
    if (architecture == "llama" && is(".k_proj"))
      tensor.head_rows = HeadRows(keys, stored, "head_count_kv");
    tensor.plus_one = IsGemma(architecture) && tensor.name.ends_with("norm.weight");
  }
  return tensors;
}

}  // namespace quantref
