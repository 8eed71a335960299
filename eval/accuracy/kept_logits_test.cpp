#include "eval/accuracy/kept_logits.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "eval/accuracy/position.h"
#include "harness/base/half.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

using Row = std::vector<float>;
using Exactly = std::vector<long double>;

Exactly SoftmaxOf(const Row& logits) {
  long double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<long double>(x));
  Exactly p;
  for (const float x : logits) p.push_back(std::exp(static_cast<long double>(x)) / sum);
  return p;
}

long double PlainDivergence(const Exactly& p, const Exactly& q) {
  long double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += p[i] > 0 ? p[i] * std::log(p[i] / q[i]) : 0;
  return sum;
}

Row Through(const Row& logits, const std::function<float(float)>& rounding) {
  Row row;
  for (const float x : logits) row.push_back(rounding(x));
  return row;
}

// The nearest of the two BF16 numbers around it, by trying both.
float PlainBFloat(float x) {
  int exponent = 0;
  const double fraction = std::frexp(static_cast<double>(x), &exponent);  // 8 bits of it are kept
  return static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8));
}

// Of the k largest, the others as one where `rest`, else renormalized.
long double PlainTop(const Row& a, const Row& b, size_t k, bool rest) {
  const Exactly p = SoftmaxOf(a), q = SoftmaxOf(b);
  std::vector<size_t> ids(a.size());
  std::iota(ids.begin(), ids.end(), size_t{0});
  std::stable_sort(ids.begin(), ids.end(), [&](size_t i, size_t j) { return a[i] > a[j]; });
  Exactly top_p, top_q;
  long double rest_p = 0, rest_q = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i < k) {
      top_p.push_back(p[ids[i]]);
      top_q.push_back(q[ids[i]]);
    } else {
      rest_p += p[ids[i]];
      rest_q += q[ids[i]];
    }
  }
  if (rest) {
    top_p.push_back(rest_p);
    top_q.push_back(rest_q > 0 ? rest_q : 1);
    return PlainDivergence(top_p, top_q);
  }
  for (long double& x : top_p) x /= 1 - rest_p;
  for (long double& x : top_q) x /= 1 - rest_q;
  return PlainDivergence(top_p, top_q);
}

// As llama.cpp writes and reads its file: the codes first, then what they stand for.
long double PlainSteps(const Row& a, const Row& b) {
  const auto [least, most] = std::minmax_element(a.begin(), a.end());
  const float low = std::max(*least, *most - 16);
  const float step = (*most - low) / 65535.0f;
  std::vector<int> codes;
  for (const float x : a)
    codes.push_back(x > low ? static_cast<int>(std::lrint((x - low) / step)) : 0);
  long double sum_a = 0;
  for (const float x : a) sum_a += std::exp(static_cast<long double>(x));
  const Exactly q = SoftmaxOf(b);
  long double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const long double log_p =
        static_cast<long double>(low) - std::log(sum_a) + static_cast<long double>(step) * codes[i];
    if (log_p > -16) sum += std::exp(log_p) * (log_p - std::log(q[i]));
  }
  return sum;
}

struct MadeUpPosition {
  Row reference, model;
};

MadeUpPosition MakePosition(size_t vocabulary, double noise, Rng& rng) {
  MadeUpPosition made;
  for (size_t i = 0; i < vocabulary; ++i) {
    made.reference.push_back(static_cast<float>(3 * rng.Normal()));
    made.model.push_back(made.reference.back() + static_cast<float>(noise * rng.Normal()));
  }
  return made;
}

KeptDivergences KeptOf(const MadeUpPosition& made, const Row& model) {
  return KeptPosition(ReferencePosition(made.reference, 0)).From(model);
}

TEST_CASE("kept logits: every form's divergence is what its definition says") {
  Rng rng(17);
  for (const size_t vocabulary : {2u, 20u, 21u, 200u, 201u, 3000u}) {
    for (const double noise : {0.0, 0.01, 0.5}) {
      CAPTURE(vocabulary, noise);
      const MadeUpPosition made = MakePosition(vocabulary, noise, rng);
      const Row &a = made.reference, &b = made.model;
      const Exactly q = SoftmaxOf(b);
      const KeptDivergences kept = KeptOf(made, b);
      const long double expected[] = {PlainDivergence(SoftmaxOf(Through(a, RoundToHalf)), q),
                                      PlainDivergence(SoftmaxOf(Through(a, PlainBFloat)), q),
                                      PlainSteps(a, b),
                                      PlainTop(a, b, 20, true),
                                      PlainTop(a, b, 20, false),
                                      PlainTop(a, b, 200, true)};
      for (size_t form = 0; form < kept.size(); ++form) {
        CAPTURE(kKeptLogitsForms[form].name);
        // Steps are put together in float.
        const double slack = kKeptLogitsForms[form].name == "u16" ? 4e-6 : 1e-12;
        CHECK(std::abs(kept[form] - static_cast<double>(expected[form])) <
              slack + 1e-6 * std::abs(kept[form]));
      }
    }
  }
}

TEST_CASE("kept logits: what forms report of a model that changes nothing") {
  Rng rng(4);
  const MadeUpPosition made = MakePosition(5000, 0, rng);
  const KeptDivergences floor = KeptOf(made, made.reference);
  CHECK(floor[0] > 1e-10);
  CHECK(floor[1] > 10 * floor[0]);  // 8 bits for 11
  for (const size_t form : {3u, 4u, 5u}) CHECK(std::abs(floor[form]) < 1e-14);
}

TEST_CASE("kept logits: fewer outcomes never show more, and twenty fewer than two hundred") {
  Rng rng(5);
  for (int i = 0; i < 20; ++i) {
    const MadeUpPosition made = MakePosition(1000, 0.3, rng);
    const double whole = ScorePosition(ReferencePosition(made.reference, 0), made.model).kl;
    const KeptDivergences kept = KeptOf(made, made.model);
    CHECK(kept[3] <= kept[5]);
    CHECK(kept[5] <= whole);
  }
}

TEST_CASE("kept logits: equal logits, one token, and one that has all probability") {
  const Row equal(300, 1.5f);
  for (const double divergence : KeptPosition(ReferencePosition(equal, 0)).From(equal))
    CHECK(std::abs(divergence) < 1e-4);  // u16 leaves nothing out: log(1 / 300) > -16
  const Row one = {2};
  for (const double divergence : KeptPosition(ReferencePosition(one, 0)).From(one))
    CHECK(divergence == 0);
  Row sure(300, -80.0f);
  sure[7] = 80;
  for (const double divergence : KeptPosition(ReferencePosition(sure, 0)).From(sure))
    CHECK(std::abs(divergence) < 1e-5);
}

}  // namespace
}  // namespace quantref
