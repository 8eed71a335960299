#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quantref {

// Which bits each matrix of a model gets where their stored bits are bounded for all of them
// together: a multiple-choice knapsack problem, as ZeroQ poses it (Cai et al., CVPR 2020): make
// sum_i loss_i(k_i) small, sum_i stored_i(k_i) being no more than the budget.

// One of the ways in which a matrix may be stored.
struct BitChoice {
  uint64_t stored = 0;  // bits, scales and zero points included
  double loss = 0;      // finite, of any sign: what storing it so costs
};

// The choices of a matrix, `stored` not falling; one or more.
using MatrixChoices = std::vector<BitChoice>;
// A choice of each matrix, by its place in MatrixChoices.
using Assignment = std::vector<size_t>;

// Their sums over the matrices, added in the matrices' order.
uint64_t StoredBits(std::span<const MatrixChoices> matrices, const Assignment& assignment);
double TotalLoss(std::span<const MatrixChoices> matrices, const Assignment& assignment);

// All three throw no error and need a budget that holds every matrix in its first choice
// (QR_CHECK). Same input, same assignment, on any machine.

// The least total loss there is under the budget; of assignments with the same loss one that stores
// least. Exact: dynamic programming over partial sums, of which those are dropped that another one
// beats in both bits and loss, or that a Lagrangian bound shows to end above an assignment that is
// known already.
Assignment AssignLeastLoss(std::span<const MatrixChoices> matrices, uint64_t budget);

// The last place that all matrices can have at once. All have as many choices.
Assignment AssignUniform(std::span<const MatrixChoices> matrices, uint64_t budget);

// From every matrix's first choice on, one that is drawn at random among those whose next choice
// the budget holds is raised to it, until there is none: what is left of the budget is less than
// any step. Looks at no loss.
Assignment AssignRandom(std::span<const MatrixChoices> matrices, uint64_t budget, uint64_t seed);

}  // namespace quantref
