#include "eval/cost/environment.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>

#include "harness/testing/testing.h"

namespace quantref {
namespace {

// The level that counts, which is the last: "-O2"; "" where there is none.
std::string OptimisationIn(const std::string& flags) {
  std::istringstream words(flags);
  std::string last;
  for (std::string word; words >> word;) {
    if (word.starts_with("-O")) last = word;
  }
  return last;
}

// The target that a command compiles for: "... -o eval/CMakeFiles/run_eval.dir/cli/..."
std::string TargetOf(const std::string& command) {
  constexpr std::string_view kFolder = "CMakeFiles/";
  const size_t begin = command.find(kFolder, command.find(" -o ")) + kFolder.size();
  return command.substr(begin, command.find(".dir/", begin) - begin);
}

TEST_CASE("environment: what is measured is compiled with the flags that records name",
          "[environment]") {
  const std::string asked = OptimisationIn(DescribeEnvironment(1).flags);
  std::ifstream file(QUANTREF_BUILD_DIR "/compile_commands.json");
  std::set<std::string> targets;
  for (const nlohmann::json& entry : nlohmann::json::parse(file)) {
    const std::string command = entry.at("command"), target = TargetOf(command);
    if (target.ends_with("_test") || target.ends_with("_testing")) continue;  // for no figure
    targets.insert(target);
    CAPTURE(target, command);
    const std::string own = OptimisationIn(command);
    CHECK((own == asked || own == "-O3"));
    CHECK(testing::Contains(command, "-ffp-contract=off"));
  }
  CHECK(targets.contains("run_eval"));
  CHECK(targets.contains("quantref_speed"));
  CHECK(targets.contains("quantref_kernels"));
}

}  // namespace
}  // namespace quantref
