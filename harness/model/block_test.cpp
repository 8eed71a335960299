#include "harness/model/block.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "harness/kernels/quantize_activations.h"
#include "harness/model/model_testing.h"
#include "harness/model/transformer.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// One block and its wiring. That scaled channels leave its output alone is
// calibrated_block_test.cpp's.

namespace quantref {
namespace {

using testing::SameBits;
using testing::TempDir;
using testing::Tiny;
using testing::TinyModel;

constexpr size_t kBlockTokens = 11;

const TinyModel kShapes[] = {{}, {.kv_heads = 4}, {.attention_bias = true, .mlp_bias = true}};

Matrix<float> Copy(MatrixView<const float> from) {
  Matrix<float> to(from.rows(), from.cols());
  for (size_t r = 0; r < from.rows(); ++r) std::copy_n(from.row(r), from.cols(), to.row(r));
  return to;
}

Matrix<float> RandomHidden(size_t hidden) { return testing::NormalMatrix(kBlockTokens, hidden, 5); }

// What an observer saw, in order.
struct Seen {
  Tap tap;
  Matrix<float> x;
};

struct Observed {
  explicit Observed(const Transformer& model)
      : rope(model.config(), kBlockTokens), before(RandomHidden(model.config().hidden)) {
    h = Copy(before.view());
    BlockForward({model.config(), 0, rope}, model.weights().blocks[0], h.view(), work,
                 [&](Tap tap, MatrixView<const float> x) {
                   seen.push_back({tap, Copy(x)});
                 });
  }

  RopeTable rope;
  Workspace work;
  Matrix<float> before, h;  // the hidden states before and after
  std::vector<Seen> seen;
};

// h + the linear's output for x.
Matrix<float> Plus(const Matrix<float>& h, const Linear& linear, const Matrix<float>& x) {
  Matrix<float> sum(x.rows(), linear.weight.rows());
  LinearScratch scratch;
  ApplyLinear(linear, x.view(), sum.view(), scratch);
  for (size_t i = 0; i < sum.rows() * sum.cols(); ++i) sum.data()[i] += h.data()[i];
  return sum;
}

Matrix<float> Normed(const Matrix<float>& h, const std::vector<float>& gain, double eps) {
  Matrix<float> x(h.rows(), h.cols());
  RmsNorm(h.view(), gain, eps, x.view());
  return x;
}

TEST_CASE("block: the blocks one after the other are the transformer", "[block]") {
  for (const TinyModel& shape : kShapes) {
    const Transformer model = Tiny(shape);
    const RopeTable rope(model.config(), kBlockTokens);
    std::vector<uint32_t> ids(kBlockTokens);
    for (size_t t = 0; t < kBlockTokens; ++t) ids[t] = static_cast<uint32_t>(7 * t % shape.vocab);
    Matrix<float> h(kBlockTokens, shape.hidden);
    Embed(model.config(), model.weights(), ids, h.view());
    Workspace work, other_work;
    std::vector<Matrix<float>> seen;
    for (size_t layer = 0; layer < shape.layers; ++layer) {
      BlockForward({model.config(), layer, rope}, model.weights().blocks[layer], h.view(), work,
                   [&](Tap, MatrixView<const float> x) { seen.push_back(Copy(x)); });
    }
    CHECK(seen.size() == kTaps * shape.layers);
    FinalNorm(model.config(), model.weights(), h.view());
    CHECK(SameBits(h, model.Hidden(ids, other_work)));
    // Observers of the whole see what those of its blocks do, and change nothing.
    size_t calls = 0;
    const Matrix<float> observed =
        model.Hidden(ids, other_work, [&](size_t layer, Tap tap, MatrixView<const float> x) {
          REQUIRE(calls < seen.size());
          CHECK(calls == layer * kTaps + static_cast<size_t>(tap));
          CHECK(SameBits(Copy(x), seen[calls++]));
        });
    CHECK(calls == seen.size());
    CHECK(SameBits(observed, h));
  }
}

TEST_CASE("block: taps are observed in order, each with its readers' inputs", "[block]") {
  for (const TinyModel& shape : kShapes) {
    const Transformer model = Tiny(shape);
    const BlockWeights& block = model.weights().blocks[0];
    const Observed observed(model);
    REQUIRE(observed.seen.size() == kTaps);
    for (size_t i = 0; i < kTaps; ++i) {
      const Seen& seen = observed.seen[i];
      CHECK(seen.tap == kAllTaps[i]);
      CHECK(seen.x.rows() == kBlockTokens);
      const BlockLayout layout = LayoutOf(model.config(), 0);
      CHECK(seen.x.cols() == layout.Channels(seen.tap));
      for (const LinearIndex reader : layout.Readers(seen.tap)) {
        CHECK(block.linears[reader].weight.cols() == seen.x.cols());
      }
    }
    // What was seen and the linears that read it make up the block's output.
    const double eps = model.config().rms_eps;
    CHECK(SameBits(observed.seen[0].x, Normed(observed.before, block.norms[kAttentionNorm], eps)));
    const Matrix<float> middle = Plus(observed.before, block.linears[kO], observed.seen[1].x);
    CHECK(SameBits(observed.seen[2].x, Normed(middle, block.norms[kMlpNorm], eps)));
    CHECK(SameBits(observed.h, Plus(middle, block.linears[kDown], observed.seen[3].x)));
  }
}

TEST_CASE("block: ObserveBlock shows what BlockForward does, up to the last tap asked for",
          "[block]") {
  for (const TinyModel& shape : kShapes) {
    const Transformer model = Tiny(shape);
    const Observed whole(model);
    for (const Tap last : kAllTaps) {
      Matrix<float> h = RandomHidden(model.config().hidden);
      Workspace work;
      size_t seen = 0;
      ObserveBlock({model.config(), 0, whole.rope}, model.weights().blocks[0], last, h.view(), work,
                   [&](Tap tap, MatrixView<const float> x) {
                     REQUIRE(seen < whole.seen.size());
                     CHECK(tap == whole.seen[seen].tap);
                     CHECK(SameBits(Copy(x), whole.seen[seen].x));
                     ++seen;
                   });
      CHECK(seen == static_cast<size_t>(last) + 1);
    }
  }
}

TEST_CASE("block: observers see the inputs before they are rounded", "[block]") {
  const Transformer model = Tiny({});
  ModelWeights weights = model.weights();
  const ActivationFormat format{.bits = 4};
  for (Linear& linear : weights.blocks[0].linears) linear.activations = format;
  const Observed plain(model);
  const Observed rounded({model.config(), weights, kBlockTokens});
  CHECK(SameBits(rounded.seen[0].x, plain.seen[0].x));
  CHECK_FALSE(SameBits(rounded.seen[1].x, plain.seen[1].x));  // q, k, v have read rounded inputs
  Matrix<float> grid = Copy(rounded.seen[3].x.view());
  QuantizeActivations(format, grid.view(), grid.view());
  CHECK_FALSE(SameBits(rounded.seen[3].x, grid));
}

}  // namespace
}  // namespace quantref
