#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/gguf_names.h"
#include "harness/model/families_testing.h"
#include "harness/model/gguf_config.h"
#include "harness/model/model_testing.h"
#include "harness/testing/safetensors_builder.h"
#include "harness/testing/tiny_gguf.h"

// The golden checkpoints as llama.cpp's converter writes them: what is read back has the losses
// that transformers gave the checkpoints.

namespace quantref {
namespace {

using testing::FileTensor;
using testing::GgufBuilder;
using testing::GoldenModel;
using testing::GoldenModels;

struct Converted {
  std::string_view name, architecture;
};
constexpr Converted kConverted[] = {
    {"bias_linear_rope_f16", "llama"},
    {"gqa_tied_bf16", "llama"},
    {"llama3_rope_sharded_bf16", "llama"},
    {"mha_untied_f32", "llama"},
    {"mistral_window_f16", "llama"},
    {"qwen2_f16", "qwen2"},
    {"qwen3_f16", "qwen3"},
    {"gemma2_f16", "gemma2"},
    {"gemma3_bf16", "gemma3"},
    {"phi3_long_f16", "phi3"},
    {"phi3_short_f16", "phi3"},
};
// What GGUF's keys cannot say: angles that grow with the text, windows in some of Qwen2's blocks,
// YaRN's ramp; and a family that is not read from such files.
constexpr std::string_view kNotConverted[] = {"dynamic_rope_f16", "qwen2_windows_bf16",
                                              "yarn_rope_bf16", "opt_f16"};

bool IsGemma(std::string_view architecture) { return architecture.starts_with("gemma"); }

// A golden checkpoint on its way into a file.
class Converter {
 public:
  Converter(const GoldenModel& golden, std::string architecture)
      : config_(golden.config),
        checkpoint_(Checkpoint::Open(golden.dir)),
        architecture_(std::move(architecture)) {}

  GgufBuilder File() {
    PutShape();
    PutAttention();
    PutScaling();
    for (const std::string& name : checkpoint_->names()) {
      if (config_.tied_head && name == "lm_head.weight") continue;
      PutTensor(name, checkpoint_->Get(name));
    }
    return std::move(file_);
  }

 private:
  std::string Key(std::string_view name) const { return architecture_ + "." + std::string(name); }
  void Count(std::string_view name, size_t value) {
    file_.U32(Key(name), static_cast<uint32_t>(value));
  }
  void Number(std::string_view name, double value) {
    file_.F32(Key(name), static_cast<float>(value));
  }

  void PutShape() {
    file_.Text("general.architecture", architecture_).U32("tokenizer.ggml.bos_token_id", 1);
    Count("block_count", config_.layers.size());
    Count("context_length", config_.context);
    Count("embedding_length", config_.hidden);
    Count("feed_forward_length", config_.intermediate);
    Count("attention.head_count", config_.heads);
    Count("attention.head_count_kv", config_.kv_heads);
    Count("attention.key_length", config_.head_dim);
    Count("attention.value_length", config_.head_dim);
    Count("rope.dimension_count", config_.RotaryDim());
    Number("attention.layer_norm_rms_epsilon", config_.rms_eps);
    Number("rope.freq_base", config_.rope_theta);
  }

  void PutAttention() {
    const auto windowed = [](const LayerConfig& layer) { return layer.sliding_window > 0; };
    const std::vector<LayerConfig>& layers = config_.layers;
    if (std::ranges::any_of(layers, windowed))
      Count("attention.sliding_window", layers[0].sliding_window);
    if (architecture_ == "gemma3") {
      const auto whole = std::ranges::find_if_not(layers, windowed);
      Count("attention.sliding_window_pattern", static_cast<size_t>(whole - layers.begin()) + 1);
      Number("rope.freq_base_swa", config_.local_rope_theta);
    }
    if (config_.attention_softcap > 0) Number("attn_logit_softcapping", config_.attention_softcap);
    if (config_.final_softcap > 0) Number("final_logit_softcapping", config_.final_softcap);
  }

  void PutFactors(const std::string& name, const std::vector<double>& factors) {
    const std::vector<float> values(factors.begin(), factors.end());
    file_.AddFloats(name, {values.size()}, values);
  }

  void PutScaling() {
    const RopeScaling& scaling = config_.rope_scaling;
    if (scaling.kind == RopeScaling::Kind::kLinear) {
      file_.Text(Key("rope.scaling.type"), "linear");
      Number("rope.scaling.factor", scaling.factor);
    }
    if (scaling.kind == RopeScaling::Kind::kLlama3)
      PutFactors("rope_freqs.weight", Llama3Factors());
    if (scaling.kind == RopeScaling::Kind::kLongRope) {
      Count("rope.scaling.original_context_length", static_cast<size_t>(scaling.original_context));
      Number("rope.scaling.attn_factor", scaling.attention_factor);
      PutFactors("rope_factors_short.weight", scaling.short_factors);
      PutFactors("rope_factors_long.weight", scaling.long_factors);
    }
  }

  // By which each frequency is divided: not at all where its wave is short beside the context of
  // pre-training, by `factor` where it is long.
  std::vector<double> Llama3Factors() const {
    const RopeScaling& scaling = config_.rope_scaling;
    std::vector<double> factors;
    for (size_t pair = 0; pair < config_.head_dim / 2; ++pair) {
      const double exponent = 2 * static_cast<double>(pair) / static_cast<double>(config_.head_dim);
      const double wave = 2 * std::numbers::pi * std::pow(config_.rope_theta, exponent);
      const double kept = std::clamp((scaling.original_context / wave - scaling.low_freq_factor) /
                                         (scaling.high_freq_factor - scaling.low_freq_factor),
                                     0.0, 1.0);
      factors.push_back(1 / ((1 - kept) / scaling.factor + kept));
    }
    return factors;
  }

  // The goldens of Gemma divide scores by other numbers than the width of a head, which a file
  // cannot say: what makes up for it.
  double QueryScale() const {
    const double width = std::sqrt(static_cast<double>(config_.head_dim));
    return config_.attention_scale == 0 ? 1 : config_.attention_scale * width;
  }

  // What the numbers of a tensor are multiplied by, and what is added before.
  std::pair<double, double> Changed(std::string_view name) const {
    if (!IsGemma(architecture_)) return {1, 0};
    const bool norm = name.ends_with("norm.weight");
    const std::string_view queries =
        architecture_ == "gemma3" ? ".q_norm.weight" : ".q_proj.weight";
    return {name.ends_with(queries) ? QueryScale() : 1, norm ? 1 : 0};
  }

  void PutTensor(const std::string& name, const Tensor& tensor) {
    const std::string stored = GgufName(architecture_, name);
    const std::vector<uint64_t> shape(tensor.shape.rbegin(), tensor.shape.rend());
    if (const auto [scale, added] = Changed(name); scale != 1 || added != 0) {
      Tensor matrix = tensor;
      if (tensor.shape.size() == 1) matrix.shape = {1, tensor.shape[0]};
      Matrix<float> values = Weight(matrix).Decode();
      const std::span<float> numbers(values.data(), values.rows() * values.cols());
      for (float& number : numbers)
        number = static_cast<float>(scale * (static_cast<double>(number) + added));
      file_.AddFloats(stored, shape, numbers);
      return;
    }
    const FileTensor found{std::string(tensor.type_name()), tensor.shape,
                           testing::BytesOf(std::span<const std::byte>(tensor.data, tensor.bytes))};
    const bool q = name.find("q_proj") != std::string::npos;
    const bool turned = architecture_ == "llama" && (q || name.find("k_proj") != std::string::npos);
    file_.Add(
        stored, testing::GgmlNumber(found.dtype), shape,
        turned ? testing::InFileOrder(found, q ? config_.heads : config_.kv_heads) : found.bytes);
  }

  const ModelConfig& config_;
  const std::shared_ptr<const Checkpoint> checkpoint_;
  const std::string architecture_;
  GgufBuilder file_;
};

void CheckLosses(const GoldenModel& golden, const std::filesystem::path& path) {
  const auto checkpoint = Checkpoint::Open(path);
  const ModelConfig config = ReadGgufConfig(*checkpoint);
  CHECK(config.family == golden.config.family);
  const Transformer model(config, LoadWeights(config, checkpoint, WeightType::kNative, 1),
                          golden.ids.size());
  Workspace work;
  const Matrix<float> logits = testing::Logits(model, model.Hidden(golden.ids, work).view(), work);
  const auto expected =
      ReadJsonFile(golden.dir / "expected.json")["nll"].get<std::vector<double>>();
  REQUIRE(expected.size() == golden.ids.size() - 1);
  double worst = 0;
  for (size_t t = 0; t < expected.size(); ++t) {
    const double nll = testing::Nll(logits.view().row_span(t), golden.ids[t + 1]);
    testing::KeepWorst(std::fabs(nll - expected[t]), worst);
  }
  CHECK(worst < 2e-5);  // as of the checkpoints themselves (transformer_test.cpp)
}

TEST_CASE("families: a GGUF file has the losses of its golden checkpoint", "[families]") {
  std::set<std::string_view> left(std::begin(kNotConverted), std::end(kNotConverted));
  for (const GoldenModel& golden : GoldenModels()) {
    INFO(golden.name);
    const auto row = std::ranges::find(kConverted, golden.name, &Converted::name);
    if (row == std::end(kConverted)) {
      CHECK(left.erase(golden.name) == 1);
      continue;
    }
    const testing::TempDir dir;
    Converter(golden, std::string(row->architecture)).File().Write(dir / "model.gguf");
    CheckLosses(golden, dir / "model.gguf");
  }
  CHECK(left.empty());
}

}  // namespace
}  // namespace quantref
