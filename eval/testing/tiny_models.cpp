#include "eval/testing/tiny_models.h"

#include <fmt/format.h>

#include "harness/base/sha256.h"
#include "harness/method/quantize_model.h"
#include "harness/model/plan_model.h"
#include "harness/testing/random.h"
#include "quantizers/registry.h"

namespace quantref::testing {

TinyModels::TinyModels(const TinyModel& shape, std::span<const int> bits, size_t max_tokens) {
  WriteTinyModel(dir_.path(), shape);
  const ModelConfig config = ReadConfig(dir_ / "config.json");
  const ModelWeights weights =
      LoadWeights(config, Checkpoint::Open(dir_.path()), WeightType::kNative, 1);
  models_.emplace_back(config, weights, max_tokens);
  for (int b : bits) {
    QuantizeSpec spec;
    spec.weights = {.bits = b, .granularity = Granularity::kRow};
    const std::vector<PlannedLinear> plan = PlanModel(spec, config);
    Method method;
    method.rounder = &ToNearest();
    models_.emplace_back(config, QuantizeModel(config, weights, plan, method, nullptr, {}).weights,
                         max_tokens);
  }
  for (const Transformer& model : models_)
    subjects_.emplace_back(model, fmt::format("model {}", subjects_.size()));
}

std::vector<const Subject*> TinyModels::pointers() const {
  std::vector<const Subject*> pointers;
  for (const TransformerSubject& subject : subjects_) pointers.push_back(&subject);
  return pointers;
}

TokenStream RandomStream(size_t tokens, size_t vocab, uint64_t seed) {
  TokenStream stream;
  stream.ids = RandomIds(tokens, vocab, seed);
  stream.ids.front() = 1;
  stream.sha256 = Sha256Hex(std::span<const uint32_t>(stream.ids));
  stream.bos = 1;
  for (size_t i = 0; i <= tokens; ++i) {
    stream.bytes_before.push_back(static_cast<uint32_t>(4 * i));
    stream.words_before.push_back(static_cast<uint32_t>(i));
  }
  return stream;
}

}  // namespace quantref::testing
