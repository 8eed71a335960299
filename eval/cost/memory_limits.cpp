#include "eval/cost/memory_limits.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

#include "harness/base/error.h"
#include "harness/kernels/blas_memory.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

// Of /proc/self/status, in bytes; 0 where it is not told.
double Status(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key + ":")) continue;
    std::istringstream value(line.substr(key.size() + 1));
    double kilobytes = 0;
    value >> kilobytes;
    return 1024 * kilobytes;
  }
  return 0;
}

void AddResourceLimit(decltype(RLIMIT_AS) resource, MemoryLimit limit,
                      std::vector<MemoryLimit>& limits) {
  rlimit value{};
  if (getrlimit(resource, &value) != 0 || value.rlim_cur == RLIM_INFINITY) return;
  limit.most = static_cast<double>(value.rlim_cur);
  limits.push_back(std::move(limit));
}

// A number in a file; none for "max", for version 1's largest number of whole pages, and where
// there is no such file.
size_t NumberIn(const fs::path& file) {
  size_t number = 0;
  const bool is_number = static_cast<bool>(std::ifstream(file) >> number);
  return is_number && number < (kNoLimit >> 2) ? number : kNoLimit;
}

// Of the group and those above it. A container sees its own group as the root, under whatever name.
size_t LowestLimit(const fs::path& root, const fs::path& group, const char* file) {
  size_t lowest = NumberIn(root / file);
  for (fs::path below = group.relative_path(); !below.empty(); below = below.parent_path())
    lowest = std::min(lowest, NumberIn(root / below / file));
  return lowest;
}

size_t StackBytes() {
  constexpr size_t kUnlimited = size_t{2} << 20;  // what glibc takes then
  rlimit value{};
  if (getrlimit(RLIMIT_STACK, &value) != 0 || value.rlim_cur == RLIM_INFINITY) return kUnlimited;
  return value.rlim_cur;
}

}  // namespace

double ReservedBytes(size_t threads) {
  // On AMX few products are OpenBLAS's, and seldom two at a time.
  const size_t buffers = ActiveIsa() == Isa::kAmx ? 1 : threads;
  return static_cast<double>(buffers * kBlasBufferBytes + (threads - 1) * StackBytes());
}

double MemoryLimit::Needed(const MemoryNeed& need) const {
  return used + need.memory + (counts_files ? need.files : 0) +
         (counts_reserved ? need.reserved : 0);
}

std::vector<MemoryLimit> MemoryLimits() {
  std::vector<MemoryLimit> limits;
  AddResourceLimit(RLIMIT_AS,
                   {.name = "the limit of address space (ulimit -v)",
                    .hint = "raise it, or what the batch system sets it from",
                    .used = Status("VmSize"),
                    .counts_files = true,
                    .counts_reserved = true},
                   limits);
  AddResourceLimit(RLIMIT_DATA,
                   {.name = "the limit of data (ulimit -d)",
                    .hint = "raise it, or what the batch system sets it from",
                    .used = Status("VmData"),
                    .counts_reserved = true},
                   limits);
  const size_t group = ControlGroupLimit("/proc/self/cgroup", "/sys/fs/cgroup");
  if (group != kNoLimit) {
    limits.push_back({.name = "the limit of the control group (memory.max)",
                      .hint = "give the container or the job more memory",
                      .most = static_cast<double>(group),
                      .used = Status("RssAnon"),
                      .of_group = true});
  }
  return limits;
}

double RoomWithinLimits() {
  double room = std::numeric_limits<double>::infinity();
  for (const MemoryLimit& limit : MemoryLimits())
    room = std::min(room, limit.most - limit.Needed({.reserved = ReservedBytes(1)}));
  return std::max(0.0, room);
}

bool FitsLimits(const MemoryNeed& need, const std::vector<MemoryLimit>& limits) {
  return std::all_of(limits.begin(), limits.end(),
                     [&](const MemoryLimit& limit) { return limit.Needed(need) <= limit.most; });
}

void CheckLimits(const MemoryNeed& need, const std::vector<MemoryLimit>& limits,
                 const std::string& what) {
  for (const MemoryLimit& limit : limits) {
    if (limit.Needed(need) <= limit.most) continue;
    throw Error(fmt::format("{} needs {:.0f} MB or more; {} is {:.0f} MB", what,
                            limit.Needed(need) / 1e6, limit.name, limit.most / 1e6),
                "memory",
                limit.hint + "; fewer --threads and fewer cells at a time (--methods) need less");
  }
}

size_t ControlGroupLimit(const fs::path& membership, const fs::path& mount) {
  size_t lowest = LowestLimit(mount, "", "memory.max");
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {  // "0::/a/b" or "4:memory,other:/a/b"
    std::istringstream fields(line);
    std::string id, controllers, group;
    std::getline(fields, id, ':');
    std::getline(fields, controllers, ':');
    std::getline(fields, group);
    if (controllers.empty()) {
      lowest = std::min(lowest, LowestLimit(mount, group, "memory.max"));
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      lowest = std::min(lowest, LowestLimit(mount / "memory", group, "memory.limit_in_bytes"));
    }
  }
  return lowest;
}

}  // namespace quantref
