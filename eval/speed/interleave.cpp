#include "eval/speed/interleave.h"

#include <numeric>

#include "harness/base/clock.h"

namespace quantref {

double SecondsOf(const std::function<void()>& run) {
  const Clock::time_point begin = Clock::now();
  run();
  return Since(begin);
}

std::vector<Samples> Interleave(std::span<const Contender> contenders, size_t rounds, Rng& rng,
                                const std::function<void()>& before_sample) {
  std::vector<Samples> samples(contenders.size());
  std::vector<size_t> order(contenders.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t round = 0; round < rounds; ++round) {
    Shuffle(std::span(order), rng);
    for (const size_t i : order) {
      const Contender& contender = contenders[i];
      if (round >= contender.samples) continue;
      before_sample();
      if (contender.warm) contender.run();
      const double seconds = SecondsOf([&] {
        for (size_t r = 0; r < contender.repeats; ++r) contender.run();
      });
      samples[i].repeats = contender.repeats;
      samples[i].seconds.push_back(seconds / static_cast<double>(contender.repeats));
    }
  }
  return samples;
}

}  // namespace quantref
