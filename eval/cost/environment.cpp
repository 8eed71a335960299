#include "eval/cost/environment.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "eval/cost/memory_limits.h"
#include "harness/base/machine.h"
#include "harness/base/sha256.h"
#include "harness/io/mapped_file.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

std::string OsName() {
  std::string name;
  std::ifstream file("/etc/os-release");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("PRETTY_NAME=\"")) name = line.substr(13, line.size() - 14) + ", ";
  }
  utsname kernel{};
  uname(&kernel);
  return fmt::format("{}{} {}", name, kernel.sysname, kernel.release);
}

}  // namespace

Environment DescribeEnvironment(size_t threads) {
  return {.cpu = CpuName(),
          .cores = CoreCount(),
          .threads = threads,
          .isa = IsaName(ActiveIsa()),
          .compiler = "g++ " __VERSION__,
          .flags = QUANTREF_FLAGS,
          .blas = BlasVersion(),
          .blas_core = BlasCoreType(),
          .os = OsName(),
          .hosts = {}};
}

nlohmann::ordered_json EnvironmentJson(const Environment& environment) {
  nlohmann::ordered_json json = {{"cpu", environment.cpu},
                                 {"cores", environment.cores},
                                 {"threads", environment.threads},
                                 {"isa", environment.isa},
                                 {"compiler", environment.compiler},
                                 {"flags", environment.flags},
                                 {"blas", environment.blas},
                                 {"blas_core", environment.blas_core},
                                 {"os", environment.os}};
  if (!environment.hosts.empty()) json["hosts"] = environment.hosts;
  return json;
}

size_t AvailableMemoryBytes() {
  size_t available = MemoryBytes();
  std::ifstream memory("/proc/meminfo");
  std::string key, unit;
  for (size_t kilobytes = 0; memory >> key >> kilobytes && std::getline(memory, unit);) {
    if (key == "MemAvailable:") available = std::min(available, 1024 * kilobytes);
  }
  return std::min(available, ControlGroupLimit("/proc/self/cgroup", "/sys/fs/cgroup"));
}

const std::string& ProgramSha256() {
  static const std::string sha256 = MappedFile("/proc/self/exe").Sha256();
  return sha256;
}

std::string UtcNow() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace quantref
