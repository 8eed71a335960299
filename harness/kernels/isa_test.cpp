#include "harness/kernels/isa.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>

#include "harness/kernels/vector_ops.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

constexpr char kVariable[] = "QUANTREF_FORCE_ISA";

TEST_CASE("isa: the names, weakest first", "[isa]") {
  REQUIRE(KnownIsas().size() == 4);
  CHECK(KnownIsas()[0] == Isa::kScalar);
  CHECK(KnownIsas()[1] == Isa::kAvx2);
  CHECK(KnownIsas()[2] == Isa::kAvx512);
  CHECK(KnownIsas()[3] == Isa::kAmx);
  CHECK(std::string(IsaName(Isa::kScalar)) == "scalar");
  CHECK(std::string(IsaName(Isa::kAvx2)) == "avx2");
  CHECK(std::string(IsaName(Isa::kAvx512)) == "avx512");
  CHECK(std::string(IsaName(Isa::kAmx)) == "amx");
}

TEST_CASE("isa: each has its own table, AMX that of AVX-512", "[isa]") {
  CHECK(&OpsFor(Isa::kScalar) == &kScalarOps);
  CHECK(&OpsFor(Isa::kAvx2) == &kAvx2Ops);
  CHECK(&OpsFor(Isa::kAvx512) == &kAvx512Ops);
  CHECK(&OpsFor(Isa::kAmx) == &kAvx512Ops);
}

TEST_CASE("isa: every CPU has the scalar one, and avx512 implies avx2", "[isa]") {
  CHECK(CpuHas(Isa::kScalar));
  if (CpuHas(Isa::kAvx512)) CHECK(CpuHas(Isa::kAvx2));
  if (CpuHas(Isa::kAmx)) CHECK(CpuHas(Isa::kAvx512));
}

// The flags that the kernel lists for the CPU: another witness than the one that CpuHas asks.
std::set<std::string> CpuFlags() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    return {std::istream_iterator<std::string>(words), std::istream_iterator<std::string>()};
  }
  return {};
}

TEST_CASE("isa: the CPU's flags say the same", "[isa]") {
  const std::set<std::string> flags = CpuFlags();
  if (flags.empty()) return;  // not Linux
  const auto has = [&](const char* flag) { return flags.count(flag) == 1; };
  const bool avx2 = has("avx2") && has("fma") && has("f16c");
  CHECK(CpuHas(Isa::kAvx2) == avx2);
  CHECK(CpuHas(Isa::kAvx512) == (avx2 && has("avx512f") && has("avx512bw") && has("avx512dq") &&
                                 has("avx512vl") && has("avx512_vnni")));
  CHECK(CpuHas(Isa::kAmx) ==
        (CpuHas(Isa::kAvx512) && has("amx_tile") && has("amx_bf16") && has("amx_int8")));
}

// Holds whatever the variable says; the test below runs it in processes of their own.
TEST_CASE("isa: the one in force is the one asked for", "[isa]") {
  const char* forced = std::getenv(kVariable);
  Isa expected = Isa::kScalar;
  bool known = forced == nullptr;
  for (Isa isa : KnownIsas()) {
    if (forced == nullptr && CpuHas(isa)) expected = isa;
    if (forced == nullptr || IsaName(isa) != std::string(forced)) continue;
    known = true;
    expected = isa;
  }
  if (!known) {
    CHECK_ERROR(ActiveIsa(), kVariable, "no kernels for '" + std::string(forced) + "'",
                "scalar, avx2, avx512, amx");
    CHECK_ERROR(Ops(), kVariable);
  } else if (!CpuHas(expected)) {
    CHECK_ERROR(ActiveIsa(), kVariable, "this CPU lacks " + std::string(forced), "hint: ");
    CHECK_ERROR(Ops(), kVariable);
  } else {
    CHECK(ActiveIsa() == expected);
    CHECK(&Ops() == &OpsFor(expected));
    if (forced != nullptr) CHECK(std::string(IsaName(ActiveIsa())) == forced);
  }
}

// The exit status of the test above in a new process of this binary, which alone reads the variable
// afresh.
int RunWithVariable(const char* value, const std::filesystem::path& log) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (value == nullptr) {
      unsetenv(kVariable);
    } else {
      setenv(kVariable, value, 1);
    }
    execl("/proc/self/exe", "kernels_test", "isa: the one in force is the one asked for", "-w",
          "NoTests", "-o", log.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("isa: QUANTREF_FORCE_ISA is obeyed or refused, never ignored", "[isa]") {
  const testing::TempDir folder;
  const std::filesystem::path log = folder / "log";
  for (const char* value : {static_cast<const char*>(nullptr), "scalar", "avx2", "avx512", "amx",
                            "AVX2", "scalar ", "bogus", ""}) {
    const int status = RunWithVariable(value, log);
    std::ifstream file(log);
    const std::string output{std::istreambuf_iterator<char>(file), {}};
    INFO(kVariable << "=" << (value == nullptr ? "(unset)" : value) << "\n" << output);
    CHECK(status == 0);
    CHECK_THAT(output, Catch::Contains("All tests passed"));
  }
}

}  // namespace
}  // namespace quantref
