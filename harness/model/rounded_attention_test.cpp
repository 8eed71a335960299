#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "harness/base/half.h"
#include "harness/model/attention.h"
#include "harness/model/attention_oracle.h"
#include "harness/model/kv_cache_testing.h"
#include "harness/model/model_testing.h"

// Attention behind a rounded cache against its definition in double, and what its bits depend on.

namespace quantref {
namespace {

using testing::At;
using testing::KvSchemes;
using testing::NormalMatrix;

// Queries, keys and values of a text, and what attention makes of them behind a cache.
struct CachedAttention {
  CachedAttention(const AttentionShape& of_shape, const KvScheme& of_scheme, size_t tokens)
      : shape(of_shape),
        scheme(of_scheme),
        q(NormalMatrix(tokens, shape.heads * shape.head_dim, 1)),
        k(NormalMatrix(tokens, shape.kv_heads * shape.head_dim, 2)),
        v(NormalMatrix(tokens, shape.kv_heads * shape.head_dim, 3)) {}

  // The text `chunk` tokens at a time.
  Matrix<float> InChunks(size_t chunk, Team* team = nullptr) {
    RoundedKv cache(scheme, shape.kv_heads, shape.head_dim, q.rows());
    Matrix<float> out(q.rows(), q.cols());
    for (size_t first = 0; first < q.rows(); first += chunk) {
      const size_t count = std::min(chunk, q.rows() - first), waiting = cache.waiting();
      Matrix<float> keys(waiting + count, k.cols()), values(waiting + count, k.cols());
      cache.CopyWaiting(keys.view(), values.view());
      for (size_t i = 0; i < count; ++i) {
        std::copy_n(k.row(first + i), k.cols(), keys.row(waiting + i));
        std::copy_n(v.row(first + i), v.cols(), values.row(waiting + i));
      }
      cache.Add(keys.view(), values.view(), team);
      CausalAttention(shape, q.view().Rows(first, count), keys.view(), values.view(), scratch,
                      out.view().Rows(first, count), team, &cache);
    }
    return out;
  }

  // By the definition: each query beside the keys and values as it sees them.
  double WorstError(const Matrix<float>& out) const {
    const Matrix<float> rounded_k = testing::Rounded(scheme, scheme.keys, k.view(), shape.kv_heads);
    const Matrix<float> rounded_v =
        testing::Rounded(scheme, scheme.values, v.view(), shape.kv_heads);
    double worst = 0;
    for (size_t t = 0; t < q.rows(); ++t) {
      const size_t keys = scheme.RoundedKeys(t + 1), values = scheme.RoundedValues(t + 1);
      for (size_t h = 0; h < shape.heads; ++h) {
        const std::vector<double> expected = Attend(t, h, rounded_k, keys, rounded_v, values);
        for (size_t i = 0; i < shape.head_dim; ++i) {
          const double error = std::fabs(At(out.view(), t, h * shape.head_dim + i) - expected[i]);
          testing::KeepWorst(error, worst);
        }
      }
    }
    return worst;
  }

  std::vector<double> Attend(size_t t, size_t h, const Matrix<float>& rounded_k, size_t keys,
                             const Matrix<float>& rounded_v, size_t values) const {
    const size_t dim = shape.head_dim, column = h / (shape.heads / shape.kv_heads) * dim;
    const size_t begin = shape.window > 0 && t >= shape.window ? t + 1 - shape.window : 0;
    std::vector<const float*> seen_keys, seen_values;
    for (size_t s = begin; s <= t; ++s) {
      seen_keys.push_back((s < keys ? rounded_k : k).row(s) + column);
      seen_values.push_back((s < values ? rounded_v : v).row(s) + column);
    }
    return testing::AttendInDouble(shape, q.row(t) + h * dim, seen_keys, seen_values);
  }

  AttentionShape shape;
  KvScheme scheme;
  Matrix<float> q, k, v;
  std::vector<AttentionScratch> scratch;
};

TEST_CASE("rounded attention: every query sees the cache of its time", "[kv_cache]") {
  for (const KvScheme& scheme : KvSchemes()) {
    for (const auto& [heads, kv_heads, dim] :
         {std::tuple<size_t, size_t, size_t>{4, 2, 16}, {3, 1, 40}, {2, 2, 6}}) {
      for (const size_t tokens : {1, 33, 150}) {
        CachedAttention attention({heads, kv_heads, dim}, scheme, tokens);
        INFO(KvName(scheme) << ", " << heads << " of " << dim << ", " << tokens << " tokens");
        CHECK(attention.WorstError(attention.InChunks(tokens)) < 4e-6);
      }
    }
  }
}

TEST_CASE("rounded attention: long texts, windows, scales and caps", "[kv_cache]") {
  for (const KvScheme& scheme : KvSchemes()) {
    for (const size_t window : {0, 1, 47, 200}) {
      AttentionShape shape{4, 2, 12};
      shape.window = window;
      if (window == 47) shape.softcap = 3;
      if (window == 200) shape.scale = 0.5;
      CachedAttention attention(shape, scheme, 330);
      INFO(KvName(scheme) << ", a window of " << window);
      CHECK(attention.WorstError(attention.InChunks(330)) < 1e-5);
    }
  }
}

TEST_CASE("rounded attention: at once, in chunks and token by token to the bit", "[kv_cache]") {
  for (const KvScheme& scheme : KvSchemes()) {
    for (const size_t window : {0, 70}) {
      AttentionShape shape{6, 2, 20};
      shape.window = window;
      CachedAttention attention(shape, scheme, 300);
      const Matrix<float> whole = attention.InChunks(300);
      for (const size_t chunk : {1, 2, 7, 16, 48, 100, 299}) {
        INFO(KvName(scheme) << ", a window of " << window << ", chunks of " << chunk);
        CHECK(testing::SameBits(attention.InChunks(chunk), whole));
      }
      for (const size_t threads : {2, 3}) {
        Team team(threads);
        CHECK(testing::SameBits(attention.InChunks(300, &team), whole));
        CHECK(testing::SameBits(attention.InChunks(100, &team), whole));
      }
    }
  }
}

TEST_CASE("rounded attention: a residual that is never left is no rounding", "[kv_cache]") {
  const AttentionShape shape{4, 2, 16};
  CachedAttention attention(shape, {.bits = 2, .keys = KvReach::kToken, .residual = 200}, 200);
  Matrix<float> plain(200, 64);
  CausalAttention(shape, attention.q.view(), attention.k.view(), attention.v.view(),
                  attention.scratch, plain.view());
  CHECK(testing::SameBits(attention.InChunks(200), plain));
  CHECK(testing::SameBits(attention.InChunks(1), plain));
}

// "3c00...": bit patterns of so many digits each.
template <typename Bits>
std::vector<Bits> Patterns(const nlohmann::json& text, size_t digits) {
  const auto& all = text.get_ref<const std::string&>();
  std::vector<Bits> patterns;
  for (size_t at = 0; at < all.size(); at += digits)
    patterns.push_back(static_cast<Bits>(std::stoul(all.substr(at, digits), nullptr, 16)));
  return patterns;
}

Matrix<float> Halves(const nlohmann::json& text, size_t rows, size_t cols) {
  const auto bits = Patterns<uint16_t>(text, 4);
  REQUIRE(bits.size() == rows * cols);
  Matrix<float> matrix(rows, cols);
  std::transform(bits.begin(), bits.end(), matrix.data(), HalfToFloat);
  return matrix;
}

// Whether every sixth of the cache's tokens is these numbers, to the bit.
bool Holds(const KvCodes& codes, const nlohmann::json& expected, size_t dim) {
  const auto bits = Patterns<uint32_t>(expected, 8);
  std::vector<float> row(dim);
  size_t at = 0;
  for (size_t t = 0; t < codes.rounded(); t += 6, at += dim) {
    codes.DecodeToken(t, row.data());
    if (at + dim > bits.size() ||
        std::memcmp(row.data(), bits.data() + at, dim * sizeof(float)) != 0)
      return false;
  }
  return at == bits.size();
}

TEST_CASE("rounded attention: as PyTorch has it, token by token", "[kv_cache][golden]") {
  const auto golden = nlohmann::json::parse(
      testing::FileText(testing::SourceDir() / "harness/model/testdata/kv_cache.json"));
  const size_t tokens = golden["tokens"], dim = golden["dim"];
  for (const auto& of_case : golden["cases"]) {
    const KvScheme scheme{
        .bits = of_case["bits"],
        .keys = of_case["keys"] == "channel" ? KvReach::kChannel : KvReach::kToken,
        .group = of_case["group"],
        .symmetric = of_case["symmetric"],
        .residual = of_case["residual"]};
    INFO(KvName(scheme));
    CachedAttention attention({1, 1, dim}, scheme, tokens);
    attention.q = Halves(golden["q"], tokens, dim);
    attention.k = Halves(golden["k"], tokens, dim);
    attention.v = Halves(golden["v"], tokens, dim);
    RoundedKv cache(scheme, 1, dim, tokens);
    cache.Add(attention.k.view(), attention.v.view());
    CHECK(cache.keys().rounded() == of_case["rounded_keys"]);
    CHECK(cache.values().rounded() == of_case["rounded_values"]);
    CHECK(Holds(cache.keys(), of_case["cached_keys"], dim));
    CHECK(Holds(cache.values(), of_case["cached_values"], dim));
    const Matrix<float> out = attention.InChunks(tokens);
    double worst = 0;
    for (size_t i = 0; i < of_case["queries"].size(); ++i) {
      const size_t t = of_case["queries"][i];
      for (size_t c = 0; c < dim; ++c)
        testing::KeepWorst(std::fabs(At(out.view(), t, c) - of_case["outputs"][i][c].get<double>()),
                           worst);
    }
    CHECK(worst < 4e-6);
  }
}

}  // namespace
}  // namespace quantref
