#include "eval/facts/lora_facts.h"

#include <algorithm>

namespace quantref {

LoraFacts DescribeLora(const LoraSpec& spec, const std::vector<PlannedLinear>& plan,
                       const ModelWeights& weights) {
  LoraFacts facts{.spec = spec, .parameters = LoraParameters(spec, plan)};
  facts.matrices = static_cast<size_t>(std::ranges::count_if(
      plan, [&](const PlannedLinear& linear) { return HasAdapter(spec, linear); }));
  double bits = 0, count = 0;
  for (const BlockWeights& block : weights.blocks) {
    for (const Linear& linear : block.linears) {
      bits += static_cast<double>(AdapterBits(linear));
      count += static_cast<double>(linear.weight.rows() * linear.weight.cols());
    }
  }
  facts.bits = bits / count;
  return facts;
}

}  // namespace quantref
