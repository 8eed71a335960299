#include "eval/facts/group_result.h"

#include <cmath>

namespace quantref {

std::vector<size_t> MeasuredIndices(const GroupResult& group) {
  std::vector<size_t> indices;
  for (size_t w = 0; w < group.windows.size(); ++w) {
    if (group.measurement.scores.empty() || group.measurement.scores[0][w]) indices.push_back(w);
  }
  return indices;
}

std::optional<SeedSpread> SpreadOver(const CellResult& cell) {
  if (cell.other_seeds.empty()) return std::nullopt;
  std::map<size_t, double> by_seed = {{cell.calibration->seed, std::exp(cell.perplexity.nll.mean)}};
  for (const OtherSeed& other : cell.other_seeds) by_seed[other.seed] = std::exp(other.mean_nll);
  SeedSpread spread;
  for (const auto& [seed, ppl] : by_seed) {
    spread.seeds.push_back(seed);
    spread.ppl.push_back(ppl);
  }
  const Spread of_ppl = MeanAndDeviation(spread.ppl);
  spread.mean = of_ppl.mean;
  spread.deviation = of_ppl.deviation;
  return spread;
}

}  // namespace quantref
