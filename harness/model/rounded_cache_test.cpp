#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <vector>

#include "harness/kernels/isa.h"
#include "harness/model/kv_cache_testing.h"
#include "harness/model/model_testing.h"
#include "harness/model/transformer.h"
#include "harness/quant/grid.h"

// Whole models behind rounded caches.

namespace quantref {
namespace {

using testing::KvSchemes;
using testing::RandomIds;
using testing::SameBits;
using testing::Tiny;
using testing::TinyModel;

// Its products are the integer kernels', whose bits do not depend on the number of tokens.
Transformer OnKernels(const Transformer& model, const KvScheme& scheme) {
  ModelWeights weights = model.weights();
  for (BlockWeights& block : weights.blocks) {
    for (Linear& linear : block.linears) {
      if (linear.weight.rows() == 0) continue;
      linear.weight = Weight(std::make_shared<PackedMatrix>(RoundToNearest(
                                 linear.weight.Decode().view(), {.bits = 8, .group = 8})))
                          .WithKernels();
    }
  }
  weights.kv_cache = scheme;
  return {model.config(), std::move(weights), model.config().context};
}

Matrix<float> ByChunks(const Transformer& model, std::span<const uint32_t> ids, size_t chunk) {
  KvCache cache(model.config(), ids.size(), model.weights().kv_cache);
  Workspace work;
  Matrix<float> all(ids.size(), model.config().hidden);
  for (size_t first = 0; first < ids.size(); first += chunk) {
    const auto some = ids.subspan(first, std::min(chunk, ids.size() - first));
    const MatrixView<const float> hidden = model.Extend(some, cache, work);
    for (size_t t = 0; t < some.size(); ++t)
      std::copy_n(hidden.row(t), hidden.cols(), all.row(first + t));
  }
  return all;
}

TEST_CASE("rounded cache: a window's scores are those of decoding it, to the bit", "[kv_cache]") {
  constexpr size_t kTokens = 90;  // so few that the kernels multiply codes
  for (const TinyModel& shape :
       {TinyModel{}, TinyModel{.kv_heads = 1, .head_dim = 24, .attention_bias = true},
        TinyModel{.sliding_window = 20}}) {
    const Transformer model = Tiny(shape);
    for (const KvScheme& scheme : KvSchemes()) {
      const Transformer rounded = OnKernels(model, scheme);
      const std::vector<uint32_t> ids = RandomIds(kTokens, TinyModel{}.vocab, 1);
      Workspace work;
      const Matrix<float> window = rounded.Hidden(ids, work);
      for (const size_t chunk : {1, 7, 40}) {
        INFO(KvName(scheme) << ", chunks of " << chunk);
        CHECK(SameBits(ByChunks(rounded, ids, chunk), window));
      }
    }
  }
}

TEST_CASE("rounded cache: the fewer bits, the farther from the unrounded one", "[kv_cache]") {
  const Transformer model = Tiny({});
  const std::vector<uint32_t> ids = RandomIds(120, TinyModel{}.vocab, 1);
  Workspace work;
  const Matrix<float> expected = model.Hidden(ids, work);
  double before = 1e-4;
  for (const int bits : {8, 5, 3, 2}) {
    ModelWeights weights = model.weights();
    weights.kv_cache = KvScheme{.bits = bits, .group = 16};
    const Transformer rounded(model.config(), std::move(weights), model.config().context);
    const Matrix<float> found = rounded.Hidden(ids, work);
    double sum = 0;
    for (size_t i = 0; i < found.rows() * found.cols(); ++i)
      sum += std::fabs(static_cast<double>(found.data()[i] - expected.data()[i]));
    const double error = sum / static_cast<double>(found.rows() * found.cols());
    CHECK(error > before);
    before = error;
  }
  CHECK(before < 1);
}

TEST_CASE("rounded cache: same text, same bits, whatever the workspace did before", "[kv_cache]") {
  const Transformer model = Tiny({});
  const std::vector<uint32_t> ids = RandomIds(60, TinyModel{}.vocab, 1),
                              others = RandomIds(100, TinyModel{}.vocab, 2);
  Workspace used;
  for (const KvScheme& scheme : KvSchemes()) {
    const Transformer rounded = OnKernels(model, scheme);
    Workspace fresh;
    const Matrix<float> expected = rounded.Hidden(ids, fresh);
    rounded.Hidden(others, used);
    CHECK(SameBits(rounded.Hidden(ids, used), expected));
    KvCache cache(model.config(), 100, scheme);
    rounded.Extend(others, cache, used);
    cache.tokens = 0;
    CHECK(SameBits(rounded.Extend(ids, cache, used), expected.view()));
    // Decoding again behind the first tokens goes on from where they ended.
    cache.tokens = 50;
    CHECK(rounded.Extend(std::span(ids).subspan(50), cache, used).rows() == 10);
    CHECK(cache.tokens == 60);
    Team team(3);
    Workspace parted(&team);
    CHECK(SameBits(rounded.Hidden(ids, parted), expected));
  }
}

}  // namespace
}  // namespace quantref
