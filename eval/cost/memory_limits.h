#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace quantref {

// What a run takes beyond what the process has, in bytes.
struct MemoryNeed {
  double files = 0;     // mapped: address space alone, because the system can drop their pages
  double memory = 0;    // that is filled
  double reserved = 0;  // address space that is set aside and hardly touched
};

// For the stacks of so many threads and the buffers of OpenBLAS that they surely need.
double ReservedBytes(size_t threads);

// A limit that is set for this process, in bytes, with what it counts.
struct MemoryLimit {
  std::string name;  // for messages: "the limit of address space (ulimit -v)"
  std::string hint;
  double most = 0, used = 0;
  bool counts_files = false, counts_reserved = false;
  bool of_group = false;  // of all processes of the control group together

  double Needed(const MemoryNeed& need) const;  // what is used already included
};

// Those that there are: RLIMIT_AS, RLIMIT_DATA, the control group's.
std::vector<MemoryLimit> MemoryLimits();

// What the limits leave for what is filled, beside the reserve of one thread; infinite where there
// are none.
double RoomWithinLimits();

bool FitsLimits(const MemoryNeed& need, const std::vector<MemoryLimit>& limits);

// Throws Error, with both numbers, where a limit is below what is needed; `what` needs it.
void CheckLimits(const MemoryNeed& need, const std::vector<MemoryLimit>& limits,
                 const std::string& what);

// The lowest limit of the memory of the control group that `membership` (/proc/self/cgroup) names
// and those above it, of version 1 or 2, below `mount` (/sys/fs/cgroup); the largest size_t where
// there is none.
size_t ControlGroupLimit(const std::filesystem::path& membership,
                         const std::filesystem::path& mount);

}  // namespace quantref
