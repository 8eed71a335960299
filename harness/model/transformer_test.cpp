#include "harness/model/transformer.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/base/copy_matrix.h"
#include "harness/base/parallel.h"
#include "harness/base/rng.h"
#include "harness/io/json_file.h"
#include "harness/model/model_testing.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::LargestDifference;
using testing::LoadTransformer;
using testing::Logits;
using testing::Nll;
using testing::RandomIds;
using testing::SameBits;
using testing::TempDir;
using testing::Tiny;
using testing::TinyModel;

std::span<const uint32_t> First(const std::vector<uint32_t>& ids, size_t count) {
  return std::span(ids).first(count);
}

TEST_CASE("transformer: the golden checkpoints' logits and losses", "[transformer]") {
  const fs::path folder = testing::SourceDir() / "harness" / "model" / "testdata";
  size_t checkpoints = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!fs::exists(entry.path() / "expected.json")) continue;
    INFO(entry.path());
    ++checkpoints;
    const Transformer model = LoadTransformer(entry.path());
    const nlohmann::json expected = ReadJsonFile(entry.path() / "expected.json");
    const auto ids = expected["input_ids"].get<std::vector<uint32_t>>();
    const auto expected_logits = expected["logits"].get<std::vector<std::vector<double>>>();
    const auto expected_nll = expected["nll"].get<std::vector<double>>();
    REQUIRE(expected_logits.size() == ids.size());
    REQUIRE(expected_nll.size() == ids.size() - 1);
    Workspace work;
    const Matrix<float> hidden = model.Hidden(ids, work);
    const Matrix<float> logits = Logits(model, hidden.view(), work);
    double worst_logit = 0, worst_nll = 0, sum_of_errors = 0;
    for (size_t t = 0; t < ids.size(); ++t) {
      for (size_t c = 0; c < expected_logits[t].size(); ++c) {
        const double error = std::fabs(static_cast<double>(logits(t, c)) - expected_logits[t][c]);
        testing::KeepWorst(error, worst_logit);
      }
      if (t + 1 == ids.size()) break;
      const double error = Nll(logits.view().row_span(t), ids[t + 1]) - expected_nll[t];
      sum_of_errors += error;
      testing::KeepWorst(std::fabs(error), worst_nll);
    }
    // Logits reach 7, of which FP32 keeps a relative 6e-8 in every operation: 2.3e-5 was seen,
    // where transformers' own norms and angles are FP32. Other machines add up in other orders.
    // Wrong angles or heads err by 1e-3 and more.
    CHECK(worst_logit < 5e-5);
    CHECK(worst_nll < 2e-5);
    CHECK(std::fabs(sum_of_errors) / static_cast<double>(ids.size() - 1) < 5e-6);
  }
  CHECK(checkpoints == 15);
}

TEST_CASE("transformer: same ids, same bits, whatever the workspace did before", "[transformer]") {
  const Transformer model = Tiny({});
  const std::vector<uint32_t> ids = RandomIds(200, 64, 1);
  Workspace fresh;
  const Matrix<float> hidden = model.Hidden(First(ids, 150), fresh);
  const Matrix<float> logits = Logits(model, hidden.view(), fresh);

  Workspace used;
  const auto check_again = [&](const char* after) {
    INFO("after " << after);
    const Matrix<float> again = model.Hidden(First(ids, 150), used);
    CHECK(SameBits(again.view(), hidden.view()));
    CHECK(SameBits(Logits(model, again.view(), used).view(), logits.view()));
  };
  check_again("nothing");
  check_again("the same window");
  Logits(model, model.Hidden(ids, used).view(), used);
  check_again("a longer window");
  Logits(model, model.Hidden(First(ids, 1), used).view(), used);
  check_again("a window of one token");
  Tiny({.hidden = 64, .intermediate = 32, .heads = 8}).Hidden(ids, used);
  check_again("a window of a larger model");
  for (Matrix<float>* matrix :
       {&used.x, &used.y, &used.q, &used.k, &used.v, &used.attention, &used.gate, &used.up,
        &used.attending.front().keys, &used.attending.front().values,
        &used.attending.front().queries, &used.attending.front().scores,
        &used.linear.workers.front().panel}) {
    std::fill_n(matrix->data(), matrix->rows() * matrix->cols(),
                std::numeric_limits<float>::quiet_NaN());
  }
  check_again("NaN everywhere");
}

TEST_CASE("transformer: same ids, same bits, whatever runs beside it", "[transformer]") {
  const Transformer model = Tiny({});
  constexpr size_t kWindows = 12;
  std::vector<Matrix<float>> alone(kWindows), beside(kWindows);
  Workspace work;
  const auto ids = [](size_t i) { return RandomIds(20 + 10 * i, 64, i); };
  for (size_t i = 0; i < kWindows; ++i) alone[i] = model.Hidden(ids(i), work);
  std::vector<Workspace> works(4);
  ParallelFor(kWindows, works.size(),
              [&](size_t i, size_t worker) { beside[i] = model.Hidden(ids(i), works[worker]); });
  for (size_t i = 0; i < kWindows; ++i) CHECK(SameBits(alone[i].view(), beside[i].view()));
}

TEST_CASE("transformer: a token sees what precedes it and nothing else", "[transformer]") {
  const Transformer model = Tiny({});
  const std::vector<uint32_t> ids = RandomIds(300, 64, 1);
  Workspace work;
  const Matrix<float> hidden = model.Hidden(ids, work);
  for (const size_t count : {1, 2, 127, 128, 129, 299}) {
    INFO(count << " tokens");
    // Other shapes, other order of the sums: the same up to rounding.
    const Matrix<float> prefix = model.Hidden(First(ids, count), work);
    CHECK(LargestDifference(prefix.view(), hidden.view().Rows(0, count)) < 1e-5);
    std::vector<uint32_t> changed = ids;
    changed[count] = (changed[count] + 1) % 64;
    const Matrix<float> other = model.Hidden(changed, work);
    CHECK(SameBits(other.view().Rows(0, count), hidden.view().Rows(0, count)));
    CHECK(LargestDifference(other.view().Rows(count, 1), hidden.view().Rows(count, 1)) > 1e-3);
  }
  // And every earlier token is seen, the first by the last.
  std::vector<uint32_t> changed = ids;
  changed[0] = (changed[0] + 1) % 64;
  const Matrix<float> other = model.Hidden(changed, work);
  CHECK(LargestDifference(other.view().Rows(299, 1), hidden.view().Rows(299, 1)) > 1e-5);
}

TEST_CASE("transformer: logits of some rows are those of all rows", "[transformer]") {
  const Transformer model = Tiny({.vocab = 70});
  Workspace work;
  const Matrix<float> hidden = model.Hidden(RandomIds(30, 70, 1), work);
  const Matrix<float> all = Logits(model, hidden.view(), work);
  for (const auto& [first, count] : {std::pair<size_t, size_t>{0, 1}, {29, 1}, {7, 16}}) {
    const Matrix<float> some = Logits(model, hidden.view().Rows(first, count), work);
    CHECK(LargestDifference(some.view(), all.view().Rows(first, count)) < 1e-5);
    CHECK(SameBits(some.view(), Logits(model, hidden.view().Rows(first, count), work).view()));
  }
}

TEST_CASE("transformer: packed weights give the bits of their decoded values", "[transformer]") {
  const TempDir dir;
  testing::WriteTinyModel(dir.path(), {.attention_bias = true, .mlp_bias = true});
  const ModelConfig config = ReadConfig(dir / "config.json");
  ModelWeights packed = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
  ModelWeights dense = packed;
  std::vector<Matrix<float>> values;
  const auto quantize = [&values](Linear& linear, Linear& decoded, int bits) {
    linear.weight = Weight(std::make_shared<PackedMatrix>(
        RoundToNearest(linear.weight.Decode().view(), {.bits = bits, .group = 8})));
    values.push_back(linear.weight.Decode());
    const Matrix<float>& last = values.back();
    decoded.weight = Weight(Tensor{"w",
                                   DType::kF32,
                                   {last.rows(), last.cols()},
                                   reinterpret_cast<const std::byte*>(last.data()),
                                   last.rows() * last.cols() * sizeof(float)});
  };
  for (size_t i = 0; i < packed.blocks.size(); ++i) {
    for (size_t j = 0; j < packed.blocks[i].linears.size(); ++j) {
      quantize(packed.blocks[i].linears[j], dense.blocks[i].linears[j], 2 + static_cast<int>(j));
    }
  }
  quantize(packed.embedding, dense.embedding, 3);
  quantize(packed.head, dense.head, 5);
  const Transformer a(config, packed, 100), b(config, dense, 100);
  Workspace work;
  const Matrix<float> hidden = a.Hidden(RandomIds(100, 64, 1), work);
  CHECK(SameBits(hidden.view(), b.Hidden(RandomIds(100, 64, 1), work).view()));
  CHECK(SameBits(Logits(a, hidden.view(), work).view(), Logits(b, hidden.view(), work).view()));
}

// Of texts beyond the original context, whose angles depend on their length, and within it.
TEST_CASE("transformer: a forward pass in parts has the bits of the whole", "[transformer]") {
  constexpr size_t kBlocks = 3;
  const Transformer plain = Tiny({.layers = kBlocks});
  ModelConfig config = plain.config();
  config.rope_scaling = {.kind = RopeScaling::Kind::kDynamic, .factor = 4, .original_context = 40};
  ModelWeights weights = plain.weights();
  weights.kv_cache = KvScheme{.bits = 4, .group = 16};
  const Transformer model(config, weights, 100);
  for (const size_t tokens : {40, 70}) {
    const std::vector<uint32_t> ids = RandomIds(tokens, 64, 1);
    Workspace work;
    const Matrix<float> whole = model.Hidden(ids, work);
    for (size_t cut = 0; cut <= kBlocks; ++cut) {
      Matrix<float> h(tokens, config.hidden);
      Embed(config, weights, ids, h.view());
      model.Run(0, cut, h.view(), work);
      model.Run(cut, kBlocks, h.view(), work);
      FinalNorm(config, weights, h.view());
      CHECK(SameBits(h, whole));
    }
  }
}

TEST_CASE("transformer: what is seen of a range is what its blocks read", "[transformer]") {
  constexpr size_t kBlocks = 3, kTokens = 20;
  const Transformer model = Tiny({.layers = kBlocks});
  const RopeTable rope(model.config(), kTokens);
  const BlockRange range{model.config(), std::span(model.weights().blocks).subspan(1), 1};
  Workspace work;
  Matrix<float> h(kTokens, model.config().hidden);
  Embed(model.config(), model.weights(), RandomIds(kTokens, 64, 1), h.view());
  model.Run(0, 1, h.view(), work);
  Matrix<float> own = CopyOf(h), cut = CopyOf(h);
  std::vector<size_t> inputs, taps;
  RunBlocks(range, rope, h.view(), work,
            {.tap = [&](size_t layer, Tap, MatrixView<const float>) { taps.push_back(layer); },
             .input =
                 [&](size_t layer, MatrixView<const float> x) {
                   inputs.push_back(layer);
                   CHECK(SameBits(x, own.view()));
                   if (layer < kBlocks) model.Run(layer, layer + 1, own.view(), work);
                 }});
  CHECK(inputs == std::vector<size_t>{1, 2, 3});
  CHECK(taps == std::vector<size_t>{1, 1, 1, 1, 2, 2, 2, 2});
  taps.clear();
  RunBlocks(range, rope, cut.view(), work,
            {.tap = [&](size_t layer, Tap, MatrixView<const float>) { taps.push_back(layer); },
             .last = Tap::kAttentionOutput});
  CHECK(taps == std::vector<size_t>{1, 1, 1, 1, 2, 2});
}

TEST_CASE("transformer: only blocks that round keys and values do", "[transformer]") {
  constexpr size_t kTokens = 60;
  const Transformer model = Tiny({.layers = 2});
  const KvScheme kv{.bits = 4, .group = 16};
  const RopeTable rope(model.config(), kTokens);
  Workspace work;
  const auto through = [&](const KvScheme* cache, const std::vector<bool>* rounds) {
    Matrix<float> h(kTokens, model.config().hidden);
    Embed(model.config(), model.weights(), RandomIds(kTokens, 64, 1), h.view());
    RunBlocks({model.config(), model.weights().blocks, 0, cache, rounds}, rope, h.view(), work);
    return h;
  };
  const std::vector<bool> none = {false, false}, second = {false, true}, both = {true, true};
  const Matrix<float> plain = through(nullptr, nullptr), rounded = through(&kv, nullptr);
  CHECK(SameBits(through(&kv, &none), plain));
  CHECK(SameBits(through(&kv, &both), rounded));
  CHECK_FALSE(SameBits(through(&kv, &second), plain));
  CHECK_FALSE(SameBits(through(&kv, &second), rounded));
}

TEST_CASE("transformer: an empty window is no window of anything", "[transformer]") {
  Workspace work;
  CHECK(Tiny({}).Hidden({}, work).rows() == 0);
}

}  // namespace
}  // namespace quantref
