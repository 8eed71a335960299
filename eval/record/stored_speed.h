#pragma once

#include <compare>
#include <cstddef>
#include <string>
#include <vector>

namespace quantref {

// The `throughput` of a record, as comparison needs it.

// Prefill or decode of so many tokens on so many threads.
struct RateName {
  bool decode = false;
  size_t tokens = 0, threads = 0;

  auto operator<=>(const RateName&) const = default;
  std::string Text() const;  // "prefill 512, 1 thread"
};

struct StoredRate {
  RateName name;
  std::vector<double> samples;  // tokens a second
};

// The product of one linear.
struct KernelName {
  std::string op;
  size_t rows = 0, cols = 0, tokens = 0, threads = 0;
  bool streamed = false;

  auto operator<=>(const KernelName&) const = default;
  std::string Text() const;  // "w4a16 g128 asym 4096x4096, M=1, 1 thread"
};

struct StoredKernel {
  KernelName name;
  double ns = 0;  // the median
};

// What the machine gave beside the samples; 0: not measured.
inline constexpr const char* kRooflineLimits[] = {"read_gbps_memory", "read_gbps_cache",
                                                  "fp32_gflops", "int8_gops"};
struct StoredRoofline {
  size_t threads = 0;
  std::vector<double> limits;  // as kRooflineLimits
};

struct StoredSpeed {
  std::vector<StoredRate> rates;
  std::vector<StoredKernel> kernels;
  std::vector<StoredRoofline> rooflines;
  double free_before = 0, free_after = 0;  // cores
  bool busy = false;
};

}  // namespace quantref
