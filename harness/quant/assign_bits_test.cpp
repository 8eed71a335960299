#include "harness/quant/assign_bits.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <optional>
#include <set>
#include <vector>

#include "harness/base/rng.h"

namespace quantref {
namespace {

using ChoicesOfAll = std::vector<MatrixChoices>;

// The best of all assignments, tried one after the other.
std::optional<Assignment> BruteForce(const ChoicesOfAll& matrices, uint64_t budget) {
  std::optional<Assignment> best;
  Assignment tried(matrices.size(), 0);
  while (true) {
    const bool fits = StoredBits(matrices, tried) <= budget;
    const auto cost = [&](const Assignment& a) {
      return std::pair(TotalLoss(matrices, a), StoredBits(matrices, a));
    };
    if (fits && (!best || cost(tried) < cost(*best))) best = tried;
    size_t i = 0;
    while (i < matrices.size() && ++tried[i] == matrices[i].size()) tried[i++] = 0;
    if (i == matrices.size()) return best;
  }
}

// Sizes that have much or little in common; losses that mostly fall with the bits, but now and then
// rise, are equal, or are negative.
ChoicesOfAll RandomChoices(Rng& rng, size_t count, size_t choices, bool round_sizes) {
  ChoicesOfAll matrices(count);
  for (MatrixChoices& matrix : matrices) {
    const uint64_t weights = round_sizes ? 64 * (1 + rng.Below(3)) : 1 + rng.Below(5000);
    const double loss = std::exp(3 * rng.Normal());
    uint64_t bits = 1;
    for (size_t c = 0; c < choices; ++c) {
      bits += 1 + rng.Below(3);
      double own = loss * std::pow(0.25, static_cast<double>(c));
      if (rng.Below(8) == 0) own = loss;
      if (rng.Below(20) == 0) own = -own;
      matrix.push_back({weights * bits + weights / 7, own});
    }
  }
  return matrices;
}

uint64_t LeastOf(const ChoicesOfAll& matrices) {
  return StoredBits(matrices, Assignment(matrices.size(), 0));
}

uint64_t MostOf(const ChoicesOfAll& matrices) {
  uint64_t most = 0;
  for (const MatrixChoices& matrix : matrices) most += matrix.back().stored;
  return most;
}

// Matrices of three sizes at 3, 4 and 8 bits in groups of 128, as models have them.
ChoicesOfAll ModelLike(size_t count, uint64_t seed) {
  Rng rng(seed);
  ChoicesOfAll matrices(count);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t weights = i % 7 < 2 ? 262144 : i % 7 < 4 ? 131072 : 720896;
    const double loss = std::exp(rng.Normal()) * 1e-3;
    for (const int bits : {3, 4, 8}) {
      const auto width = static_cast<uint64_t>(bits);
      matrices[i].push_back(
          {weights * width + weights / 128 * (16 + width), loss * std::pow(4.0, -bits)});
    }
  }
  return matrices;
}

}  // namespace

TEST_CASE("assignments: the least loss is that of brute force, for every kind of budget") {
  Rng rng(1);
  for (size_t trial = 0; trial < 400; ++trial) {
    const ChoicesOfAll matrices =
        RandomChoices(rng, 1 + rng.Below(6), 1 + rng.Below(4), trial % 2 == 0);
    const uint64_t least = LeastOf(matrices), most = MostOf(matrices);
    for (const uint64_t budget : {least, least + rng.Below(most - least + 1), most, 2 * most}) {
      const Assignment best = *BruteForce(matrices, budget);
      const Assignment found = AssignLeastLoss(matrices, budget);
      INFO("trial " << trial << ", budget " << budget << " of " << least << " to " << most);
      REQUIRE(TotalLoss(matrices, found) == Approx(TotalLoss(matrices, best)).epsilon(1e-12));
      REQUIRE(StoredBits(matrices, found) <= budget);
    }
  }
}

TEST_CASE("assignments: losses that cancel each other hide no assignment") {
  Rng rng(11);
  for (size_t trial = 0; trial < 200; ++trial) {
    ChoicesOfAll matrices = RandomChoices(rng, 5, 3, trial % 2 == 0);
    for (size_t c = 0; c < 3; ++c) {
      matrices[0][c].loss = 1e9 + rng.Normal();
      matrices[4][c].loss = -1e9 + rng.Normal();
    }
    const uint64_t least = LeastOf(matrices), most = MostOf(matrices);
    for (const uint64_t budget : {least, least + rng.Below(most - least + 1), most}) {
      const double best = TotalLoss(matrices, *BruteForce(matrices, budget));
      INFO("trial " << trial << ", budget " << budget << " of " << least << " to " << most);
      REQUIRE(TotalLoss(matrices, AssignLeastLoss(matrices, budget)) ==
              Approx(best).epsilon(1e-12).margin(1e-5));
    }
  }
}

TEST_CASE("assignments: of equal losses the one that stores least") {
  const ChoicesOfAll matrices = {{{10, 1}, {20, 1}, {30, 0}}, {{10, 0}, {12, 0}}};
  CHECK(AssignLeastLoss(matrices, 39) == Assignment{0, 0});
  CHECK(AssignLeastLoss(matrices, 42) == Assignment{2, 0});
}

TEST_CASE("assignments: those of models stay within the budget and beat what looks at no loss") {
  for (const size_t count : {28u, 56u, 210u}) {
    const ChoicesOfAll matrices = ModelLike(count, count);
    uint64_t weights = 0;
    for (const MatrixChoices& matrix : matrices) weights += matrix[1].stored - matrix[0].stored;
    for (const double bits : {3.3, 4.0, 4.25, 6.0}) {
      const auto budget = static_cast<uint64_t>(bits * static_cast<double>(weights));
      if (budget < LeastOf(matrices)) continue;
      const Assignment best = AssignLeastLoss(matrices, budget);
      const Assignment uniform = AssignUniform(matrices, budget);
      CHECK(StoredBits(matrices, best) <= budget);
      CHECK(TotalLoss(matrices, best) < TotalLoss(matrices, uniform));
      for (uint64_t seed = 0; seed < 3; ++seed) {
        const Assignment random = AssignRandom(matrices, budget, seed);
        CHECK(StoredBits(matrices, random) <= budget);
        CHECK(TotalLoss(matrices, best) < TotalLoss(matrices, random));
      }
    }
  }
}

TEST_CASE("assignments: a sensitive matrix gets the most bits") {
  ChoicesOfAll matrices = ModelLike(28, 3);
  for (BitChoice& choice : matrices[17]) choice.loss *= 1000;
  const uint64_t budget = LeastOf(matrices) + (MostOf(matrices) - LeastOf(matrices)) / 4;
  CHECK(AssignLeastLoss(matrices, budget)[17] == 2);
}

TEST_CASE("assignments: uniform ones are the highest that fits, random ones fill the budget") {
  const ChoicesOfAll matrices = ModelLike(28, 5);
  const uint64_t four = StoredBits(matrices, Assignment(28, 1));
  CHECK(AssignUniform(matrices, four) == Assignment(28, 1));
  CHECK(AssignUniform(matrices, four - 1) == Assignment(28, 0));
  CHECK(AssignUniform(matrices, MostOf(matrices)) == Assignment(28, 2));
  std::set<Assignment> different;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Assignment random = AssignRandom(matrices, four, seed);
    CHECK(random == AssignRandom(matrices, four, seed));
    different.insert(random);
    const uint64_t left = four - StoredBits(matrices, random);
    for (size_t i = 0; i < matrices.size(); ++i) {
      if (random[i] < 2)
        CHECK(matrices[i][random[i] + 1].stored - matrices[i][random[i]].stored > left);
    }
  }
  CHECK(different.size() == 20);
  CHECK(AssignRandom(matrices, MostOf(matrices), 0) == Assignment(28, 2));
}

}  // namespace quantref
