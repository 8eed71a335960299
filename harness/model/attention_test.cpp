#include "harness/model/attention.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "harness/kernels/thin_gemm.h"
#include "harness/model/attention_oracle.h"
#include "harness/model/model_testing.h"

// Attention against its definition in double, and what its bits depend on.

namespace quantref {
namespace {

using testing::At;
using testing::kNan;
using testing::NormalMatrix;

void Fill(Matrix<float>& matrix, float value) {
  std::fill_n(matrix.data(), matrix.rows() * matrix.cols(), value);
}

// Softmax attention of the query at position t by its definition.
std::vector<double> Attend(const AttentionShape& shape, MatrixView<const float> q,
                           MatrixView<const float> k, MatrixView<const float> v, size_t t,
                           size_t head) {
  const size_t dim = shape.head_dim, kv = head / (shape.heads / shape.kv_heads);
  const size_t window = shape.window, hidden = window > 0 && t >= window ? t + 1 - window : 0;
  std::vector<const float*> keys, values;
  for (size_t s = hidden; s <= t; ++s) {
    keys.push_back(k.row(s) + kv * dim);
    values.push_back(v.row(s) + kv * dim);
  }
  return testing::AttendInDouble(shape, q.row(t) + head * dim, keys, values);
}

double WorstAttentionError(const AttentionShape& shape, MatrixView<const float> q,
                           MatrixView<const float> k, MatrixView<const float> v,
                           MatrixView<const float> out) {
  double worst = 0;
  for (size_t t = 0; t < q.rows(); ++t) {
    for (size_t head = 0; head < shape.heads; ++head) {
      const std::vector<double> expected = Attend(shape, q, k, v, t, head);
      for (size_t i = 0; i < shape.head_dim; ++i) {
        const double error = std::fabs(At(out, t, head * shape.head_dim + i) - expected[i]);
        testing::KeepWorst(error, worst);
      }
    }
  }
  return worst;
}

// The inputs of so many tokens, and the result for the last of them; what lies in the scratch or in
// the result beforehand must not matter.
struct Attention {
  Attention(const AttentionShape& of_shape, size_t tokens)
      : shape(of_shape),
        q(NormalMatrix(tokens, shape.heads * shape.head_dim, 1)),
        k(NormalMatrix(tokens, shape.kv_heads * shape.head_dim, 2)),
        v(NormalMatrix(tokens, shape.kv_heads * shape.head_dim, 3)) {}

  Matrix<float> Of(size_t first, size_t count, Team* team = nullptr) {
    Matrix<float> out(count, q.cols());
    Fill(out, kNan);
    CausalAttention(shape, q.view().Rows(first, count), k.view().Rows(0, first + count),
                    v.view().Rows(0, first + count), scratch, out.view(), team);
    for (AttentionScratch& of_worker : scratch) {
      for (Matrix<float>* matrix :
           {&of_worker.keys, &of_worker.values, &of_worker.queries, &of_worker.scores})
        Fill(*matrix, kNan);
    }
    return out;
  }
  double ErrorOf(const Matrix<float>& out) const {
    return WorstAttentionError(shape, q.view(), k.view(), v.view(), out.view());
  }
  double WorstError() { return ErrorOf(Of(0, q.rows())); }

  AttentionShape shape;
  Matrix<float> q, k, v;
  std::vector<AttentionScratch> scratch;
};

bool SameRows(const Matrix<float>& some, const Matrix<float>& all, size_t first) {
  return std::memcmp(some.data(), all.view().row(first), some.rows() * some.cols() * 4) == 0;
}

TEST_CASE("attention: of every number of tokens and grouping", "[attention]") {
  for (const auto& [heads, kv_heads] : {std::pair<size_t, size_t>{4, 2}, {3, 3}, {6, 1}}) {
    for (const size_t tokens : {1, 2, 17, 47, 48, 49, 127, 255, 256, 257, 600}) {
      INFO(heads << " heads, " << kv_heads << " of keys, " << tokens << " tokens");
      Attention attention({heads, kv_heads, 12}, tokens);
      const Matrix<float> out = attention.Of(0, tokens);
      CHECK(attention.ErrorOf(out) < 3e-6);
      CHECK(SameRows(attention.Of(0, tokens), out, 0));  // by a scratch that was used
    }
  }
}

TEST_CASE("attention: heads of every width", "[attention]") {
  for (const size_t dim : {2, 8, 16, 18, 40, 64, 130}) {
    INFO(dim);
    CHECK(Attention({2, 1, dim}, 70).WorstError() < 4e-6);
  }
}

TEST_CASE("attention: within a sliding window", "[attention]") {
  // Few tokens go row by row, more by tiles; windows within a tile, of a tile, and beyond one.
  for (const size_t tokens : {9, 15, 16, 257, 600}) {
    Attention attention({4, 2, 12}, tokens);
    for (const size_t window : {1, 5, 47, 48, 49, 255, 256, 300}) {
      INFO(tokens << " tokens, a window of " << window);
      attention.shape.window = window;
      CHECK(attention.WorstError() < 3e-6);
    }
    attention.shape.window = 0;
    const Matrix<float> all = attention.Of(0, tokens);
    for (const size_t window : {tokens, tokens + 1}) {
      attention.shape.window = window;
      CHECK(SameRows(attention.Of(0, tokens), all, 0));
    }
  }
}

TEST_CASE("attention: scores that are scaled and capped", "[attention]") {
  for (const size_t tokens : {9, 100}) {
    for (const double scale : {0.0, 0.1, 3.0}) {
      for (const double softcap : {0.0, 2.0, 50.0}) {
        INFO(tokens << " tokens, scale " << scale << ", cap " << softcap);
        AttentionShape shape{4, 2, 12};
        shape.scale = scale;
        shape.softcap = softcap;
        CHECK(Attention(shape, tokens).WorstError() < 2e-5);
      }
    }
  }
}

TEST_CASE("attention: scores far apart", "[attention]") {
  Attention attention({2, 2, 8}, 40);
  for (size_t i = 0; i < 40 * 16; ++i) attention.q.data()[i] *= 1000;  // one key takes it all
  // A score of thousands has an absolute error of thousands times 6e-8.
  CHECK(attention.WorstError() < 2e-3);
}

TEST_CASE("attention: a query's bits do not depend on what is asked for beside it", "[attention]") {
  for (const size_t window : {0, 70}) {
    AttentionShape shape{4, 2, 20};
    shape.window = window;
    Attention attention(shape, 600);
    const Matrix<float> all = attention.Of(0, 600);
    for (const auto& [first, count] :
         {std::pair<size_t, size_t>{0, 16}, {0, 599}, {1, 200}, {250, 16}, {257, 300}, {584, 16}}) {
      INFO(count << " queries from " << first << ", window " << window);
      CHECK(SameRows(attention.Of(first, count), all, first));
    }
    for (const size_t threads : {1, 2, 3, 7}) {
      Team team(threads);
      CHECK(SameRows(attention.Of(0, 600, &team), all, 0));
      CHECK(SameRows(attention.Of(580, 20, &team), all, 580));
    }
  }
}

TEST_CASE("attention: what comes later is not touched", "[attention]") {
  Attention attention({2, 1, 16}, 100);
  const Matrix<float> before = attention.Of(0, 60);
  for (size_t s = 60; s < 100; ++s) {
    std::fill_n(attention.k.view().row(s), 16, kNan);
    std::fill_n(attention.v.view().row(s), 16, kNan);
  }
  CHECK(SameRows(attention.Of(0, 60), before, 0));
}

}  // namespace
}  // namespace quantref
