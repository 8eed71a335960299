#include "harness/quant/assign_bits.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/base/check.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

using Matrices = std::span<const MatrixChoices>;

// The sum over the matrices from each one on of what each stores at least; 0 behind the last.
std::vector<uint64_t> LeastStoredFrom(Matrices matrices) {
  std::vector<uint64_t> least(matrices.size() + 1, 0);
  for (size_t i = matrices.size(); i-- > 0;) least[i] = least[i + 1] + matrices[i].front().stored;
  return least;
}

// The choice with the least loss + price * stored; of equal ones the first.
size_t BestAt(double price, const MatrixChoices& choices) {
  const auto cost = [&](const BitChoice& choice) {
    return choice.loss + price * static_cast<double>(choice.stored);
  };
  const auto best =
      std::min_element(choices.begin(), choices.end(),
                       [&](const auto& a, const auto& b) { return cost(a) < cost(b); });
  return static_cast<size_t>(best - choices.begin());
}

Assignment AssignAt(double price, Matrices matrices) {
  Assignment assignment;
  for (const MatrixChoices& choices : matrices) assignment.push_back(BestAt(price, choices));
  return assignment;
}

// A price of a bit above which no matrix stores more than its first choice does.
double HighestPrice(Matrices matrices) {
  double highest = 0;
  for (const MatrixChoices& choices : matrices) {
    for (const BitChoice& choice : choices) {
      const double saved = choices.front().loss - choice.loss;
      const uint64_t more = choice.stored - choices.front().stored;
      if (saved > 0 && more > 0) highest = std::max(highest, saved / static_cast<double>(more));
    }
  }
  return 2 * highest;
}

// What bounds the loss from above and, for each place, from below.
class Bounds {
 public:
  Bounds(Matrices matrices, uint64_t budget) : budget_(static_cast<double>(budget)) {
    FindPrice(matrices, budget);
    for (const MatrixChoices& choices : matrices) {
      double largest = 0;
      for (const BitChoice& choice : choices) largest = std::max(largest, std::abs(choice.loss));
      magnitude_ += largest;
    }
    from_.assign(matrices.size() + 1, 0);
    for (size_t i = matrices.size(); i-- > 0;) {
      const BitChoice& best = matrices[i][BestAt(price_, matrices[i])];
      from_[i] = from_[i + 1] + best.loss + price_ * static_cast<double>(best.stored);
    }
  }

  // Whether no assignment that has stored so much and lost so much before the matrix `next` can be
  // better than the one that is known. Sums in another order differ in their last bits: of what was
  // added, which the sum itself may be far below.
  bool Hopeless(uint64_t stored, double loss, size_t next) const {
    constexpr double kSlack = 1e-9;
    const double least = loss + from_[next] - price_ * (budget_ - static_cast<double>(stored));
    return least > known_ + kSlack * (magnitude_ + price_ * budget_);
  }

 private:
  // The lowest price, up to rounding, at which what the matrices choose by themselves fits.
  void FindPrice(Matrices matrices, uint64_t budget) {
    double low = 0, high = HighestPrice(matrices);
    const auto fits = [&](double price) {
      return StoredBits(matrices, AssignAt(price, matrices)) <= budget;
    };
    if (fits(0)) high = 0;
    for (int step = 0; step < 100 && high > 0; ++step) {
      const double middle = (low + high) / 2;
      (fits(middle) ? high : low) = middle;
    }
    price_ = high;
    known_ = TotalLoss(matrices, AssignAt(price_, matrices));
  }

  const double budget_;
  double price_ = 0, known_ = 0, magnitude_ = 0;
  std::vector<double> from_;  // of the matrices from each one on, at the price
};

// What some of the matrices can store and lose: the last one's choice and, by its place among the
// states of those before, what they chose.
struct State {
  uint64_t stored;
  double loss;
  size_t before, choice;
};

// Only those that no other one beats: by stored bits rising, losses falling.
std::vector<State> Undominated(std::vector<State> states) {
  std::stable_sort(states.begin(), states.end(), [](const State& a, const State& b) {
    return a.stored != b.stored ? a.stored < b.stored : a.loss < b.loss;
  });
  std::vector<State> kept;
  for (const State& state : states) {
    if (kept.empty() || state.loss < kept.back().loss) kept.push_back(state);
  }
  return kept;
}

void CheckFits(Matrices matrices, uint64_t budget) {
  const uint64_t least = LeastStoredFrom(matrices)[0];
  QR_CHECK_LE(least, budget);
}

}  // namespace

uint64_t StoredBits(Matrices matrices, const Assignment& assignment) {
  QR_CHECK_EQ(matrices.size(), assignment.size());
  uint64_t stored = 0;
  for (size_t i = 0; i < matrices.size(); ++i) stored += matrices[i][assignment[i]].stored;
  return stored;
}

double TotalLoss(Matrices matrices, const Assignment& assignment) {
  QR_CHECK_EQ(matrices.size(), assignment.size());
  double loss = 0;
  for (size_t i = 0; i < matrices.size(); ++i) loss += matrices[i][assignment[i]].loss;
  return loss;
}

Assignment AssignLeastLoss(Matrices matrices, uint64_t budget) {
  CheckFits(matrices, budget);
  const std::vector<uint64_t> least = LeastStoredFrom(matrices);
  const Bounds bounds(matrices, budget);
  std::vector<std::vector<State>> states = {{{0, 0, 0, 0}}};  // by how many matrices have chosen
  for (size_t i = 0; i < matrices.size(); ++i) {
    std::vector<State> next;
    for (size_t before = 0; before < states[i].size(); ++before) {
      for (size_t choice = 0; choice < matrices[i].size(); ++choice) {
        const uint64_t stored = states[i][before].stored + matrices[i][choice].stored;
        const double loss = states[i][before].loss + matrices[i][choice].loss;
        if (stored + least[i + 1] <= budget && !bounds.Hopeless(stored, loss, i + 1))
          next.push_back({stored, loss, before, choice});
      }
    }
    states.push_back(Undominated(std::move(next)));
  }
  Assignment assignment(matrices.size());
  QR_CHECK(!states.back().empty());
  size_t place = states.back().size() - 1;  // the least loss
  for (size_t i = matrices.size(); i-- > 0;) {
    assignment[i] = states[i + 1][place].choice;
    place = states[i + 1][place].before;
  }
  return assignment;
}

Assignment AssignUniform(Matrices matrices, uint64_t budget) {
  CheckFits(matrices, budget);
  Assignment assignment(matrices.size(), 0);
  if (matrices.empty()) return assignment;
  for (size_t choice = 1; choice < matrices.front().size(); ++choice) {
    const Assignment higher(matrices.size(), choice);
    if (StoredBits(matrices, higher) <= budget) assignment = higher;
  }
  return assignment;
}

Assignment AssignRandom(Matrices matrices, uint64_t budget, uint64_t seed) {
  CheckFits(matrices, budget);
  Assignment assignment(matrices.size(), 0);
  uint64_t left = budget - StoredBits(matrices, assignment);
  Rng rng(seed);
  while (true) {
    std::vector<size_t> can;
    const auto step = [&](size_t i) {
      return matrices[i][assignment[i] + 1].stored - matrices[i][assignment[i]].stored;
    };
    for (size_t i = 0; i < matrices.size(); ++i) {
      if (assignment[i] + 1 < matrices[i].size() && step(i) <= left) can.push_back(i);
    }
    if (can.empty()) return assignment;
    const size_t raised = can[rng.Below(can.size())];
    left -= step(raised);
    ++assignment[raised];
  }
}

}  // namespace quantref
