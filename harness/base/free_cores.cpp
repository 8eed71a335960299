#include "harness/base/free_cores.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "harness/base/start_thread.h"

namespace quantref {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<int> AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// Each addition waits for the one before: nothing but a core's time makes this faster.
void Add(uint64_t rounds) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < rounds; ++i) {
    sum += i;
    asm volatile("" : "+r"(sum));
  }
}

// Seconds of the loop on each of the CPUs at the same time: the longest.
double SecondsOn(const std::vector<int>& cpus, uint64_t rounds) {
  std::vector<double> seconds(cpus.size());
  std::atomic<size_t> ready{0};
  {
    const auto measure = [&](size_t i) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(cpus[i], &set);
      sched_setaffinity(0, sizeof(set), &set);  // refused: then the system places them
      ++ready;
      while (ready < cpus.size()) std::this_thread::yield();
      const Clock::time_point begin = Clock::now();
      Add(rounds);
      seconds[i] = std::chrono::duration<double>(Clock::now() - begin).count();
    };
    std::vector<std::jthread> threads;
    try {
      for (size_t i = 0; i < cpus.size(); ++i)
        threads.push_back(StartThread([&measure, i] { measure(i); }));
    } catch (...) {
      ready = cpus.size();  // those that did start would wait for the others without an end
      throw;
    }
  }
  return *std::max_element(seconds.begin(), seconds.end());
}

}  // namespace

double MeasureFreeCores() {
  std::vector<int> cpus = AllowedCpus();
  if (cpus.size() < 2) return 1;
  cpus.resize(2);
  constexpr uint64_t kTrial = 2'000'000;
  constexpr double kSeconds = 0.05;
  const double trial = SecondsOn({cpus[0]}, kTrial);
  const auto rounds = static_cast<uint64_t>(kTrial * std::max(1.0, kSeconds / trial));
  // The CPUs may differ: what each takes alone, beside the slower of the two together.
  const double alone = (SecondsOn({cpus[0]}, rounds) + SecondsOn({cpus[1]}, rounds)) / 2;
  return 2 * alone / SecondsOn(cpus, rounds);
}

}  // namespace quantref
