#include "eval/accuracy/spliced_subject.h"

#include <catch2/catch.hpp>
#include <memory>
#include <vector>

#include "eval/testing/tiny_models.h"

namespace quantref {
namespace {

using testing::TinyModels;

constexpr size_t kLongest = 40;
constexpr int kFourBits[] = {4};

SplicedModel AsItIs(const ModelWeights& weights) {
  return {weights, std::vector<bool>(weights.blocks.size(), false), {}};
}

// The logits of all positions.
std::vector<float> LogitsOf(Subject::Reader& reader, const std::vector<uint32_t>& ids,
                            size_t vocabulary) {
  reader.Read(ids);
  Matrix<float> logits(ids.size(), vocabulary);
  reader.Logits(0, logits.view());
  return {logits.data(), logits.data() + ids.size() * vocabulary};
}

std::vector<float> LogitsOf(const ModelConfig& config, const ModelWeights& weights,
                            const std::vector<uint32_t>& ids) {
  const Transformer model(config, weights, kLongest);
  const TransformerSubject subject(model, "whole");
  std::shared_ptr<Subject::Memory> memory;
  return LogitsOf(*subject.MakeReader(memory, nullptr), ids, config.vocab);
}

TEST_CASE("spliced: a model that goes on from another's blocks has its own bits") {
  const TinyModels models({.layers = 4}, kFourBits, kLongest);
  const ModelConfig& config = models.config();
  const ModelWeights &reference = models.transformer(0).weights(),
                     &quantized = models.transformer(1).weights();
  const SpliceShape shape(config, std::nullopt, kLongest);
  const SplicedSubject none(shape, AsItIs(reference)), all(shape, AsItIs(quantized));
  std::shared_ptr<Subject::Memory> memory;
  const auto of_none = none.MakeReader(memory, nullptr), of_all = all.MakeReader(memory, nullptr);
  const std::vector<std::vector<uint32_t>> windows = {{1, 7, 3, 60, 5}, {1, 2, 2, 9, 33, 4, 11}};
  for (size_t block = 0; block < 4; ++block) {
    ModelWeights alone = reference, rest = quantized;
    alone.blocks[block] = quantized.blocks[block];
    rest.blocks[block] = reference.blocks[block];
    const SplicedSubject spliced_alone(shape, AsItIs(alone), &none, block),
        spliced_rest(shape, AsItIs(rest), &all, block);
    const auto of_alone = spliced_alone.MakeReader(memory, nullptr),
               of_rest = spliced_rest.MakeReader(memory, nullptr);
    for (const std::vector<uint32_t>& ids : windows) {
      CHECK(LogitsOf(*of_none, ids, config.vocab) == LogitsOf(config, reference, ids));
      CHECK(LogitsOf(*of_all, ids, config.vocab) == LogitsOf(config, quantized, ids));
      CHECK(LogitsOf(*of_alone, ids, config.vocab) == LogitsOf(config, alone, ids));
      CHECK(LogitsOf(*of_rest, ids, config.vocab) == LogitsOf(config, rest, ids));
    }
  }
}

TEST_CASE("spliced: a head alone begins behind the last block, and caches are rounded by block") {
  const TinyModels models({.layers = 2}, kFourBits, kLongest);
  const ModelConfig& config = models.config();
  const ModelWeights& reference = models.transformer(0).weights();
  const KvScheme kv{.bits = 4, .group = 16};
  const SpliceShape shape(config, kv, kLongest);
  const SplicedSubject none(shape, AsItIs(reference));
  ModelWeights other = reference;
  Matrix<float> turned = other.head.weight.Decode();
  for (size_t i = 0; i < turned.rows() * turned.cols(); ++i) turned.data()[i] *= -1;
  other.head.weight = Weight(std::move(turned));
  const SplicedSubject head(shape, AsItIs(other), &none, 2);
  const SplicedSubject first(shape, {reference, {true, false}, "first"}, &none, 0),
      second(shape, {reference, {false, true}, "second"}, &none, 1),
      both(shape, {reference, {true, true}, "both"});
  CHECK(second.name() == "second");
  std::shared_ptr<Subject::Memory> memory;
  const std::vector<uint32_t> ids = testing::RandomStream(kLongest, config.vocab, 3).ids;
  const auto logits = [&](const SplicedSubject& subject) {
    return LogitsOf(*subject.MakeReader(memory, nullptr), ids, config.vocab);
  };
  const std::vector<float> plain = logits(none);
  CHECK(logits(head) == LogitsOf(config, other, ids));
  ModelWeights rounded = reference;
  rounded.kv_cache = kv;
  CHECK(logits(both) == LogitsOf(config, rounded, ids));
  CHECK(logits(first) != plain);
  CHECK(logits(second) != plain);
  CHECK(logits(first) != logits(second));
}

}  // namespace
}  // namespace quantref
