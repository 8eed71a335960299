#include "harness/model/kv_codes.h"

#include <malloc.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "harness/model/kv_cache.h"
#include "harness/model/kv_cache_testing.h"
#include "harness/model/model_testing.h"

namespace quantref {
namespace {

using testing::KvSchemes;
using testing::NormalMatrix;
using testing::Rounded;

// What a side of the cache holds of its rounded tokens.
Matrix<float> Cached(const KvCodes& codes, size_t width) {
  Matrix<float> rows(codes.rounded(), width);
  for (size_t t = 0; t < codes.rounded(); ++t) codes.DecodeToken(t, rows.row(t));
  return rows;
}

// The tokens join the cache `chunk` at a time.
void Feed(const Matrix<float>& k, const Matrix<float>& v, size_t first, size_t chunk,
          RoundedKv& cache, Team* team = nullptr) {
  for (size_t t = first; t < k.rows(); t += chunk) {
    const size_t count = std::min(chunk, k.rows() - t), waiting = cache.waiting();
    Matrix<float> keys(waiting + count, k.cols()), values(waiting + count, k.cols());
    cache.CopyWaiting(keys.view(), values.view());
    for (size_t i = 0; i < count; ++i) {
      std::copy_n(k.row(t + i), k.cols(), keys.row(waiting + i));
      std::copy_n(v.row(t + i), k.cols(), values.row(waiting + i));
    }
    cache.Add(keys.view(), values.view(), team);
  }
}

TEST_CASE("kv codes: hold what was rounded, however it came", "[kv_cache]") {
  constexpr size_t kTokens = 131;
  for (const KvScheme& scheme : KvSchemes()) {
    for (const auto& [heads, dim] : {std::pair<size_t, size_t>{2, 32}, {1, 40}, {3, 6}}) {
      const size_t width = heads * dim;
      const Matrix<float> k = NormalMatrix(kTokens, width, 1), v = NormalMatrix(kTokens, width, 2);
      const size_t rounded_keys = scheme.RoundedKeys(kTokens);
      const Matrix<float> keys =
          Rounded(scheme, scheme.keys, k.view().Rows(0, rounded_keys), heads);
      const Matrix<float> values =
          Rounded(scheme, scheme.values, v.view().Rows(0, scheme.RoundedValues(kTokens)), heads);
      for (const size_t chunk : {1, 5, 16, 50, 131}) {
        INFO(KvName(scheme) << ", " << heads << " of " << dim << ", chunks of " << chunk);
        RoundedKv cache(scheme, heads, dim, kTokens);
        Team team(2);
        Feed(k, v, 0, chunk, cache, chunk == 50 ? &team : nullptr);
        CHECK(testing::SameBits(Cached(cache.keys(), width), keys));
        CHECK(testing::SameBits(Cached(cache.values(), width), values));
        Matrix<float> waiting_k(cache.waiting(), width), waiting_v(cache.waiting(), width);
        cache.CopyWaiting(waiting_k.view(), waiting_v.view());
        const size_t first = kTokens - cache.waiting();
        CHECK(first == std::min(keys.rows(), values.rows()));
        CHECK(testing::SameBits(waiting_k.view(), k.view().Rows(first, cache.waiting())));
        CHECK(testing::SameBits(waiting_v.view(), v.view().Rows(first, cache.waiting())));
      }
    }
  }
}

TEST_CASE("kv codes: what is forgotten comes again", "[kv_cache]") {
  constexpr size_t kTokens = 100;
  for (const KvScheme& scheme : KvSchemes()) {
    const Matrix<float> k = NormalMatrix(kTokens, 32, 1), v = NormalMatrix(kTokens, 32, 2);
    RoundedKv cache(scheme, 2, 16, kTokens);
    Feed(k, v, 0, 30, cache);
    const Matrix<float> before = Cached(cache.keys(), 32);
    INFO(KvName(scheme));
    for (const size_t kept : {99, 97, 64, 1}) {
      cache.Forget(kept);
      CHECK(cache.tokens() == kept);
      CHECK(cache.keys().rounded() == scheme.RoundedKeys(kept));
      CHECK(cache.values().rounded() == scheme.RoundedValues(kept));
      CHECK(cache.waiting() == kept - std::min(cache.keys().rounded(), cache.values().rounded()));
      Feed(k, v, kept, 3, cache);
      CHECK(cache.tokens() == kTokens);
    }
    cache.Forget(0);
    CHECK(cache.waiting() == 0);
    Feed(k, v, 0, 7, cache);
    CHECK(testing::SameBits(Cached(cache.keys(), 32), before));
  }
}

TEST_CASE("kv codes: what is no number stays none", "[kv_cache]") {
  for (const KvScheme& scheme : KvSchemes()) {
    Matrix<float> k = NormalMatrix(128, 32, 1), v = NormalMatrix(128, 32, 2);
    k(3, 4) = testing::kInfinity;
    v(3, 20) = testing::kNan;
    RoundedKv cache(scheme, 2, 16, 128);
    Feed(k, v, 0, 128, cache);
    INFO(KvName(scheme));
    CHECK(std::isnan(Cached(cache.keys(), 32)(3, 4)));
    CHECK(std::isnan(Cached(cache.values(), 32)(3, 20)));
    CHECK(std::isfinite(Cached(cache.values(), 32)(2, 20)));
  }
}

TEST_CASE("kv codes: numbers that FP16's range cuts off at either end are refused", "[kv_cache]") {
  constexpr size_t kTokens = 128, kWidth = 32;
  for (const KvScheme& scheme : KvSchemes()) {
    for (const float size : {1e-12f, 1e-6f, 1.0f, 1000.0f, 1e5f, 1e30f}) {
      for (const bool of_keys : {true, false}) {
        INFO(KvName(scheme) << " " << size << (of_keys ? " keys" : " values"));
        Matrix<float> numbers = NormalMatrix(kTokens, kWidth, 1);
        const Matrix<float> others = NormalMatrix(kTokens, kWidth, 2);
        for (size_t i = 0; i < kTokens * kWidth; ++i) numbers.data()[i] *= size;
        RoundedKv cache(scheme, 2, 16, kTokens);
        Feed(of_keys ? numbers : others, of_keys ? others : numbers, 0, 64, cache);
        if (size == 1.0f || size == 1000.0f) {
          CHECK_NOTHROW(cache.CheckLoss(3));
        } else {
          CHECK_ERROR(cache.CheckLoss(3), "layer 3", of_keys ? "keys" : "values");
        }
        cache.Forget(0);
        cache.CheckLoss(3);
      }
    }
  }
}

TEST_CASE("kv codes: a small channel or token among others is not refused", "[kv_cache]") {
  constexpr size_t kTokens = 128, kWidth = 32;
  for (const KvScheme& scheme : KvSchemes()) {
    INFO(KvName(scheme));
    Matrix<float> numbers = NormalMatrix(kTokens, kWidth, 1);
    for (size_t t = 0; t < kTokens; ++t) numbers(t, 5) *= 1e-9f;
    for (size_t c = 0; c < kWidth; ++c) numbers(7, c) *= 1e-9f;
    RoundedKv cache(scheme, 2, 16, kTokens);
    Feed(numbers, numbers, 0, kTokens, cache);
    cache.CheckLoss(0);
  }
}

TEST_CASE("kv codes: bits of a number and bytes of a token, to the last one", "[kv_cache]") {
  const auto check = [](const KvScheme& scheme, double key_bits, double value_bits) {
    INFO(KvName(scheme));
    const KvCost cost = CostOf(scheme, 4, 64);
    CHECK(cost.key_bits == Approx(key_bits));
    CHECK(cost.value_bits == Approx(value_bits));
    CHECK(cost.bytes == Approx((key_bits + value_bits) * 4 * 64 / 8));
  };
  check({.bits = 4, .group = 64}, 4.5, 4.5);
  check({.bits = 2, .group = 32, .residual = 128}, 3, 3);
  check({.bits = 8, .keys = KvReach::kToken, .group = 0}, 8.125, 8.125);
  check({.bits = 3, .keys = KvReach::kHead, .group = 16, .symmetric = true}, 3.25, 4);
  // A head of 40 channels: values in three blocks of sixteen, of which the last is half empty.
  const KvCost padded = CostOf({.bits = 4, .keys = KvReach::kHead, .group = 16}, 1, 40);
  CHECK(padded.key_bits == Approx(4 + 32.0 / 40));
  CHECK(padded.value_bits == Approx((4 * 48 + 3 * 32) / 40.0));
}

ModelConfig Shape() {
  ModelConfig config = testing::Tiny({.kv_heads = 4, .head_dim = 64}).config();
  config.context = 4096;
  return config;
}

size_t Allocated() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST_CASE("kv codes: a rounded cache is as small as it says", "[kv_cache]") {
  const ModelConfig config = Shape();
  const auto measured = [&](const std::optional<KvScheme>& scheme) {
    const size_t before = Allocated();
    const KvCache cache(config, 4096, scheme);
    const double size = static_cast<double>(Allocated() - before);
    CHECK(size == Approx(static_cast<double>(cache.bytes())).epsilon(0.01));
    CHECK(cache.bytes() == KvCache::Bytes(config, 4096, scheme));
    return size;
  };
  const double fp32 = measured(std::nullopt);
  CHECK(measured(KvScheme{.bits = 4, .group = 64}) <
        0.157 * fp32);  // 4.5 bits, and room for 63 tokens
  CHECK(measured(KvScheme{.bits = 8, .keys = KvReach::kToken, .group = 0}) < 0.255 * fp32);
  CHECK(measured(KvScheme{.bits = 2, .group = 128, .residual = 128}) < 0.106 * fp32);
}

}  // namespace
}  // namespace quantref
