#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness/base/rng.h"
#include "harness/base/team.h"
#include "harness/kernels/thin_gemm.h"
#include "harness/model/model_testing.h"
#include "harness/model/transformer.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// A text in several calls is the text in one; and teams change nothing.

namespace quantref {
namespace {

using testing::Logits;
using testing::RandomIds;
using testing::SameBits;
using testing::TempDir;
using testing::Tiny;
using testing::TinyModel;

constexpr size_t kTextTokens = 90;

// Grouped queries, a key a head, one key for all; a tied head; biases; heads as wide as vectors;
// every type of weights; attention that does not reach back to the beginning.
const TinyModel kModels[] = {
    {},
    {.kv_heads = 4, .tied = true},
    {.kv_heads = 1, .attention_bias = true, .mlp_bias = true, .dtype = "F16"},
    {.hidden = 64, .intermediate = 100, .heads = 2, .kv_heads = 1, .head_dim = 40, .dtype = "BF16"},
    {.sliding_window = 20},
};

// The hidden states of the ids, `chunk` of them a call.
Matrix<float> InChunks(const Transformer& model, std::span<const uint32_t> ids, size_t chunk,
                       KvCache& cache, Workspace& work) {
  Matrix<float> all(ids.size(), model.config().hidden);
  for (size_t first = 0; first < ids.size(); first += chunk) {
    const std::span<const uint32_t> some = ids.subspan(first, std::min(chunk, ids.size() - first));
    const MatrixView<const float> hidden = model.Extend(some, cache, work);
    REQUIRE(hidden.rows() == some.size());
    for (size_t t = 0; t < some.size(); ++t) {
      std::copy_n(hidden.row(t), hidden.cols(), all.row(first + t));
    }
  }
  CHECK(cache.tokens == ids.size());
  return all;
}

// The hidden states of a text are near 1, the logits below 10; sums in other orders err by 1e-6
// and 1e-5 of that. A token at the wrong place, or that is missed, errs by 1e-2 and more.
void CheckNear(const Transformer& model, MatrixView<const float> found,
               MatrixView<const float> expected, Workspace& work) {
  double worst = 0;
  for (size_t t = 0; t < expected.rows(); ++t) {
    for (size_t c = 0; c < expected.cols(); ++c) {
      const double error =
          std::fabs(static_cast<double>(found(t, c)) - static_cast<double>(expected(t, c)));
      testing::KeepWorst(error, worst);
    }
  }
  CHECK(worst < 2e-5);
  const Matrix<float> a = Logits(model, found, work), b = Logits(model, expected, work);
  size_t differing = 0;
  for (size_t t = 0; t < expected.rows(); ++t) {
    differing += std::max_element(a.row(t), a.row(t) + a.cols()) - a.row(t) !=
                 std::max_element(b.row(t), b.row(t) + b.cols()) - b.row(t);
  }
  CHECK(differing == 0);
}

TEST_CASE("extend: token by token, in chunks and at once as the whole window", "[extend]") {
  for (const TinyModel& shape : kModels) {
    for (const WeightType type : {WeightType::kNative, WeightType::kFp16}) {
      const Transformer model = Tiny(shape, type);
      const std::vector<uint32_t> ids = RandomIds(kTextTokens, TinyModel{}.vocab, 1);
      Workspace work;
      const Matrix<float> expected = model.Hidden(ids, work);
      for (const size_t chunk : {1, 2, 7, 15, 16, 17, 40, 89}) {
        INFO(shape.dtype << ", " << shape.kv_heads << " of keys, chunks of " << chunk);
        KvCache cache(model.config(), kTextTokens);
        CheckNear(model, InChunks(model, ids, chunk, cache, work).view(), expected.view(), work);
      }
      KvCache cache(model.config(), kTextTokens + 30);
      CHECK(SameBits(InChunks(model, ids, kTextTokens, cache, work).view(), expected.view()));
    }
  }
}

TEST_CASE("extend: beyond dynamic scaling's context, keys keep the angles of their time",
          "[extend]") {
  const Transformer plain = Tiny({});
  ModelConfig config = plain.config();
  config.rope_scaling = {.kind = RopeScaling::Kind::kDynamic, .factor = 4, .original_context = 40};
  const Transformer model(config, plain.weights(), 60);
  const std::vector<uint32_t> ids = RandomIds(60, TinyModel{}.vocab, 1);
  Workspace work;
  const auto extended = [&](std::initializer_list<size_t> chunks) {
    KvCache cache(config, 60);
    size_t first = 0;
    for (const size_t chunk : chunks) {
      model.Extend(std::span(ids).subspan(first, chunk), cache, work);
      first += chunk;
    }
    return std::move(cache.keys[0]);
  };
  const auto difference = [](const Matrix<float>& a, const Matrix<float>& b, size_t row) {
    double worst = 0;
    for (size_t i = 0; i < a.cols(); ++i)
      worst = std::max(worst, static_cast<double>(std::fabs(a(row, i) - b(row, i))));
    return worst;
  };
  const Matrix<float> whole = extended({60}), parts = extended({20, 20, 1, 19});
  CHECK(difference(whole, extended({20, 20, 20}), 59) < 1e-5);
  CHECK(difference(whole, parts, 59) < 1e-5);
  CHECK(difference(whole, parts, 19) > 1e-3);           // was rotated as one of 20 tokens
  CHECK(difference(parts, extended({20}), 19) == 0);    // and stayed so
  CHECK(difference(parts, extended({41}), 40) < 1e-5);  // one of 41
  CHECK(difference(whole, parts, 40) > 1e-3);
  KvCache cache(config, 60);
  const Matrix<float> expected = model.Hidden(ids, work);
  CHECK(SameBits(model.Extend(ids, cache, work), expected.view()));
  // Within the original context there is no scaling.
  const std::span<const uint32_t> few = std::span(ids).first(40);
  const Matrix<float> unscaled = plain.Hidden(few, work);
  CHECK(SameBits(model.Hidden(few, work).view(), unscaled.view()));
}

TEST_CASE("extend: a few tokens at once have the bits of the window", "[extend]") {
  const Transformer model = Tiny({});
  Workspace work;
  for (size_t count = 1; count <= kThinTokens + 1; ++count) {
    const std::vector<uint32_t> ids = RandomIds(count, TinyModel{}.vocab, count);
    KvCache cache(model.config(), count);
    const Matrix<float> expected = model.Hidden(ids, work);
    CHECK(SameBits(model.Extend(ids, cache, work), expected.view()));
  }
}

TEST_CASE("extend: tiles of queries behind a long past", "[extend]") {
  const Transformer model = Tiny({.layers = 1});
  const std::vector<uint32_t> ids = RandomIds(400, TinyModel{}.vocab, 2);
  Workspace work;
  const Matrix<float> expected = model.Hidden(ids, work);
  KvCache cache(model.config(), 400);
  const std::span<const uint32_t> all(ids);
  model.Extend(all.first(100), cache, work);
  // 300 queries: more than a tile of them.
  const MatrixView<const float> rest = model.Extend(all.subspan(100), cache, work);
  CheckNear(model, rest, expected.view().Rows(100, 300), work);
}

TEST_CASE("extend: same text, same bits, whatever cache and workspace did before", "[extend]") {
  const Transformer model = Tiny({});
  const std::vector<uint32_t> ids = RandomIds(60, TinyModel{}.vocab, 1),
                              others = RandomIds(80, TinyModel{}.vocab, 2);
  Workspace fresh, used;
  KvCache cache(model.config(), 80), long_cache(model.config(), 200);
  const Matrix<float> expected = InChunks(model, ids, 7, cache, fresh);
  InChunks(model, others, 9, long_cache, used);
  long_cache.tokens = 0;
  CHECK(SameBits(InChunks(model, ids, 7, long_cache, used).view(), expected.view()));
  // Forgetting the last tokens and going on again.
  long_cache.tokens = 56;
  const MatrixView<const float> again = model.Extend(std::span(ids).subspan(56), long_cache, used);
  CHECK(SameBits(again, expected.view().Rows(56, 4)));
}

TEST_CASE("extend: nothing is nothing, and room is kept account of", "[extend]") {
  const Transformer model = Tiny({});
  Workspace work;
  KvCache cache(model.config(), 20);
  CHECK(cache.capacity() == 20);
  CHECK(cache.keys.size() == 2);
  CHECK(model.Extend({}, cache, work).rows() == 0);
  CHECK(cache.tokens == 0);
  model.Extend(RandomIds(20, TinyModel{}.vocab, 1), cache, work);
  CHECK(cache.tokens == 20);
  CHECK(model.Extend({}, cache, work).rows() == 0);
}

// How a process of its own ends that does f.
template <typename F>
int ExitStatusOf(F f) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    close(STDERR_FILENO);
    f();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("extend: more tokens than there is room for are a bug", "[extend]") {
  const Transformer model = Tiny({}), short_model(model.config(), model.weights(), 10);
  Workspace work;
  const auto extend = [&](const Transformer& by, size_t capacity, size_t first, size_t then) {
    return ExitStatusOf([&] {
      KvCache cache(model.config(), capacity);
      by.Extend(RandomIds(first, TinyModel{}.vocab, 1), cache, work);
      by.Extend(RandomIds(then, TinyModel{}.vocab, 1), cache, work);
    });
  };
  CHECK(extend(model, 20, 19, 1) == 0);
  CHECK(extend(model, 20, 20, 1) == 3);
  CHECK(extend(model, 20, 4, 17) == 3);
  CHECK(extend(short_model, 20, 9, 2) == 3);  // beyond the model's own max_tokens
  CHECK(extend(model, TinyModel{}.context + 1, 1, 1) == 3);
}

// Copies of the model's weights as another kind of weight.
ModelWeights Packed(ModelWeights weights, bool kernels) {
  for (BlockWeights& block : weights.blocks) {
    for (Linear& linear : block.linears) {
      linear.weight = Weight(std::make_shared<PackedMatrix>(
          RoundToNearest(linear.weight.Decode().view(), {.bits = 4, .group = 8})));
      if (kernels) linear.weight = linear.weight.WithKernels();
    }
  }
  return weights;
}

// Every result of a forward on this team.
std::vector<Matrix<float>> Results(const Transformer& model, Team* team) {
  Workspace work(team);
  const std::vector<uint32_t> ids = RandomIds(kTextTokens, TinyModel{}.vocab, 3);
  std::vector<Matrix<float>> results;
  results.push_back(model.Hidden(ids, work));
  results.push_back(Logits(model, results[0].view(), work));
  KvCache cache(model.config(), kTextTokens);
  results.push_back(InChunks(model, ids, 19, cache, work));
  results.push_back(Logits(model, results[2].view().Rows(0, 1), work));
  cache.tokens = 0;
  results.push_back(InChunks(model, ids, 1, cache, work));
  return results;
}

TEST_CASE("extend: every team gives the bits of none", "[extend]") {
  // Wide enough for several tiles of every kind.
  const TinyModel wide{.hidden = 64,
                       .intermediate = 704,
                       .layers = 1,
                       .heads = 6,
                       .kv_heads = 3,
                       .head_dim = 16,
                       .attention_bias = true,
                       .dtype = "F16"};
  const Transformer dense = Tiny(wide);
  std::vector<Transformer> models;
  models.emplace_back(dense.config(), dense.weights(), kTextTokens);
  for (const bool kernels : {false, true})
    models.emplace_back(dense.config(), Packed(dense.weights(), kernels), kTextTokens);
  ModelWeights rounded = dense.weights();
  for (Linear& linear : rounded.blocks[0].linears) linear.activations = ActivationFormat{};
  models.emplace_back(dense.config(), rounded, kTextTokens);
  for (size_t m = 0; m < models.size(); ++m) {
    const std::vector<Matrix<float>> expected = Results(models[m], nullptr);
    for (const size_t threads : {1, 2, 3}) {
      Team team(threads);
      const std::vector<Matrix<float>> found = Results(models[m], &team);
      for (size_t i = 0; i < expected.size(); ++i) {
        INFO("model " << m << ", result " << i << ", " << threads << " threads");
        CHECK(SameBits(found[i].view(), expected[i].view()));
      }
    }
  }
}

}  // namespace
}  // namespace quantref
