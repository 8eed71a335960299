#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace quantref {

// Where a run happened: what a figure may depend on besides its config.
struct Environment {
  std::string cpu;  // the model's name as the kernel has it; never used to choose code
  size_t cores = 0, threads = 0;
  std::string isa;  // of our kernels
  std::string compiler, flags;
  std::string blas, blas_core;
  std::string os;
  std::vector<std::string> hosts{};  // of the processes that shared the windows; none: this alone
};

Environment DescribeEnvironment(size_t threads);

// As records have it.
nlohmann::ordered_json EnvironmentJson(const Environment& environment);

size_t AvailableMemoryBytes();  // what programs can still get; within the control group
std::string UtcNow();           // "2026-01-31T12:34:56Z"

// Of this program's file: it tells two builds of a changed tree apart, which a commit does not.
const std::string& ProgramSha256();

}  // namespace quantref
