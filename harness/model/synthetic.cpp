#include "harness/model/synthetic.h"

#include <algorithm>
#include <bit>
#include <memory>

#include "harness/base/check.h"
#include "harness/base/half.h"
#include "harness/base/huge_memory.h"
#include "harness/base/parallel.h"
#include "harness/base/rng.h"
#include "harness/model/layout.h"
#include "harness/model/plan_model.h"

namespace quantref {
namespace {

struct Shape {
  std::string_view name;
  size_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, context;
  double rope_theta;
  bool tied;
  std::string_view family = "llama";
  size_t window = 0;  // of all blocks but every sixth, which see everything
};

// mistral-7b: that of v0.2, without a sliding window. tiny: for tests.
constexpr Shape kShapes[] = {
    {"tinyllama-1.1b", 32000, 2048, 5632, 22, 32, 4, 64, 2048, 1e4, false},
    {"llama-2-7b", 32000, 4096, 11008, 32, 32, 32, 128, 4096, 1e4, false},
    {"llama-2-13b", 32000, 5120, 13824, 40, 40, 40, 128, 4096, 1e4, false},
    {"llama-3-8b", 128256, 4096, 14336, 32, 32, 8, 128, 8192, 5e5, false},
    {"llama-3.2-1b", 128256, 2048, 8192, 16, 32, 8, 64, 131072, 5e5, true},
    {"mistral-7b", 32000, 4096, 14336, 32, 32, 8, 128, 32768, 1e6, false},
    {"smollm2-135m", 49152, 576, 1536, 30, 9, 3, 64, 8192, 1e5, true},
    {"qwen2.5-0.5b", 151936, 896, 4864, 24, 14, 2, 64, 32768, 1e6, true, "qwen2"},
    {"qwen3-0.6b", 151936, 1024, 3072, 28, 16, 8, 128, 40960, 1e6, true, "qwen3"},
    {"gemma-3-270m", 262144, 640, 2048, 18, 4, 1, 256, 32768, 1e6, true, "gemma3_text", 512},
    {"phi-3-mini", 32064, 3072, 8192, 32, 32, 32, 96, 4096, 1e4, false, "phi3"},
    {"opt-125m", 50272, 768, 3072, 12, 12, 12, 64, 2048, 1e4, true, "opt"},
    {"wikilm-28m", 8192, 512, 1408, 8, 8, 4, 64, 2048, 1e4, true},
    {"tiny", 128, 64, 96, 2, 4, 2, 16, 128, 1e4, false},
};

ModelConfig ConfigOf(const Shape& shape) {
  ModelConfig config;
  config.family = FindFamily(shape.family);
  config.model_type = shape.family;
  config.vocab = shape.vocab;
  config.hidden = shape.hidden;
  config.intermediate = shape.intermediate;
  config.layers.resize(shape.layers);
  for (size_t i = 0; i < shape.layers; ++i) {
    LayerConfig& layer = config.layers[i];
    layer.bias = BiasesOf(*config.family, false, false);
    layer.local_rope = shape.window > 0 && (i + 1) % 6 != 0;
    layer.sliding_window = layer.local_rope ? shape.window : 0;
  }
  config.heads = shape.heads;
  config.kv_heads = shape.kv_heads;
  config.head_dim = shape.head_dim;
  config.context = shape.context;
  config.rms_eps = 1e-5;
  config.rope_theta = shape.rope_theta;
  config.tied_head = shape.tied;
  return config;
}

// Every matrix has a sequence of its own, so that they can be filled in any order.
Rng MatrixRng(uint64_t seed, size_t matrix) { return Rng((seed << 20) + matrix); }

// FP16 numbers of random sign and mantissa, their exponent that of 1 / sqrt(cols): of the size that
// trained weights have, at four numbers a random word.
std::shared_ptr<uint8_t> RandomHalves(size_t rows, size_t cols, Rng rng) {
  constexpr uint64_t kEach = 0x0001000100010001u;
  const size_t words = (rows * cols * sizeof(uint16_t) + sizeof(kEach) - 1) / sizeof(kEach);
  std::shared_ptr<uint8_t> halves = AllocateHuge(words * sizeof(kEach));
  auto* const data = reinterpret_cast<uint64_t*>(halves.get());
  const uint64_t log = std::bit_width(cols) / 2;
  const uint64_t exponent = (15 - log) << 10;
  for (size_t i = 0; i < words; ++i)
    data[i] = (rng.Next() & (0x83ffu * kEach)) | (exponent * kEach);
  return halves;
}

Weight HalfWeight(const LinearShape& shape, Rng rng, std::shared_ptr<const void>& memory) {
  const std::shared_ptr<uint8_t> halves = RandomHalves(shape.rows, shape.cols, rng);
  memory = halves;
  Tensor tensor;
  tensor.dtype = DType::kF16;
  tensor.shape = {shape.rows, shape.cols};
  tensor.data = reinterpret_cast<const std::byte*>(halves.get());
  tensor.bytes = shape.rows * shape.cols * sizeof(uint16_t);
  return Weight(tensor);
}

}  // namespace

std::span<const SyntheticShape> SyntheticShapes() {
  static const std::vector<SyntheticShape> shapes = [] {
    std::vector<SyntheticShape> all;
    for (const Shape& shape : kShapes) all.push_back({shape.name, ConfigOf(shape)});
    return all;
  }();
  return shapes;
}

const ModelConfig& FindSyntheticShape(std::string_view name) {
  const auto shapes = SyntheticShapes();
  const auto found = std::find_if(shapes.begin(), shapes.end(),
                                  [&](const SyntheticShape& shape) { return shape.name == name; });
  QR_CHECK(found != shapes.end());
  return found->config;
}

size_t SyntheticBytes(const ModelConfig& config, const std::vector<PlannedLinear>& plan) {
  if (plan.empty()) return sizeof(uint16_t) * config.Parameters();
  size_t bytes = 0;
  for (const PlannedLinear& linear : plan) {
    const auto& [name, rows, cols] = linear.shape;
    bytes += linear.scheme ? TiledMatrix::BytesOf(rows, cols, *linear.scheme)
                           : sizeof(uint16_t) * rows * cols;
  }
  return bytes;
}

SyntheticWeights MakeSyntheticFrame(const ModelConfig& config, uint64_t seed, size_t threads) {
  SyntheticWeights frame;
  ModelWeights& weights = frame.weights;
  frame.memory.resize(config.tied_head ? 1 : 2);
  Linear* const ends[] = {&weights.embedding, &weights.head};
  const char* const names[] = {kEmbeddingName, kHeadName};
  ParallelFor(frame.memory.size(), threads, [&](size_t i, size_t) {
    ends[i]->weight =
        HalfWeight({names[i], config.vocab, config.hidden}, MatrixRng(seed, i), frame.memory[i]);
  });
  if (config.tied_head) weights.head.weight = weights.embedding.weight;
  for (size_t i = 0; i < 2; ++i) ends[i]->name = names[i];
  weights.final_norm.assign(config.hidden, 1.0f);
  if (config.family->norm == Family::Norm::kLayer) weights.final_norm_bias.assign(config.hidden, 0);
  if (config.family->learned_positions) {
    const auto positions =
        std::make_shared<Matrix<float>>(config.context + kPositionOffset, config.hidden);
    std::fill_n(positions->data(), positions->rows() * positions->cols(), 0.0f);
    weights.positions = positions;
  }
  weights.blocks.resize(config.layers.size());
  for (size_t layer = 0; layer < weights.blocks.size(); ++layer) {
    const BlockLayout layout = LayoutOf(config, layer);
    BlockWeights& block = weights.blocks[layer];
    for (const NormRow& norm : layout.norms) {
      block.norms[norm.index].assign(norm.size, 1.0f);
      if (norm.bias) block.norm_biases[norm.index].assign(norm.size, 0.0f);
    }
    for (const LinearRow& row : layout.linears) {
      block.linears[row.index].name = NameInModel(layer, row.name);
      if (row.bias) block.linears[row.index].bias.assign(row.rows, 0.0f);
    }
  }
  return frame;
}

SyntheticWeights MakeSyntheticReference(const ModelConfig& config, const SyntheticWeights& frame,
                                        uint64_t seed, size_t threads) {
  std::vector<PlannedLinear> plan;
  for (LinearShape& shape : PlannableLinears(config))
    plan.push_back({std::move(shape), std::nullopt});
  return MakeSynthetic(config, frame, plan, std::nullopt, seed, threads);
}

SyntheticWeights MakeSynthetic(const ModelConfig& config, const SyntheticWeights& frame,
                               const std::vector<PlannedLinear>& plan,
                               const std::optional<ActivationScheme>& activations, uint64_t seed,
                               size_t threads) {
  SyntheticWeights result = frame;
  const std::vector<Linear*> linears = AllLinears(result.weights);
  QR_CHECK_EQ(plan.size(), linears.size());
  const size_t shared = frame.memory.size();
  result.memory.resize(shared + 2 * plan.size());
  ParallelFor(plan.size(), threads, [&](size_t i, size_t) {
    const auto& [shape, scheme, method] = plan[i];
    const bool of_frame = linears[i]->weight.rows() > 0;
    if (!scheme && of_frame) return;
    Rng rng = MatrixRng(seed, 2 + i);
    if (!scheme) {
      linears[i]->weight = HalfWeight(shape, rng, result.memory[shared + i]);
      return;
    }
    linears[i]->weight = Weight(std::make_shared<const TiledMatrix>(
        TiledMatrix::Random(shape.rows, shape.cols, *scheme, rng)));
    if (i == 0) return;  // the embedding is looked up, not multiplied
    linears[i]->activations = DynamicFormat(activations);
    if (activations && linears[i]->activations->KeepsWeights())
      linears[i]->outlier_weights = HalfWeight({shape.name, shape.cols, shape.rows}, rng,
                                               result.memory[shared + plan.size() + i]);
  });
  if (!config.tied_head) return result;
  result.weights.head.weight = result.weights.embedding.weight;
  if (result.weights.head.weight.quantized())
    result.weights.head.activations = DynamicFormat(activations);
  return result;
}

}  // namespace quantref
