// What every script does whatever it is for: it says at once how it is used, and takes no flag for
// another.

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ProcessResult;
using testing::TempDir;

// A checkout in which nothing is built and nothing can be.
class BareCheckout {
 public:
  BareCheckout() {
    const fs::path tree = testing::SourceDir();
    fs::copy(tree / "scripts", dir_ / "scripts", fs::copy_options::recursive);
    for (const char* read : {"harness/reference/fetchable.json", "results/fields.json"}) {
      fs::create_directories((dir_ / read).parent_path());
      fs::copy(tree / read, dir_ / read);
    }
  }
  std::vector<std::string> Scripts() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_ / "scripts")) {
      const bool runs = (entry.status().permissions() & fs::perms::owner_exec) != fs::perms::none;
      if (entry.is_regular_file() && runs) names.push_back(entry.path().filename());
    }
    return names;
  }
  // From another folder, by a relative path.
  ProcessResult Run(const std::string& script, const std::string& argument,
                    const testing::ProcessOptions& options = {}) const {
    testing::ProcessOptions here = options;
    here.folder = dir_ / "harness";
    return testing::RunProcess({"../scripts/" + script, argument}, here);
  }
  bool Touched() const { return fs::exists(dir_ / "build"); }

 private:
  TempDir dir_;
};

TEST_CASE("scripts: help comes at once, without a build") {
  const BareCheckout checkout;
  const std::vector<std::string> scripts = checkout.Scripts();
  REQUIRE(scripts.size() > 10);
  for (const std::string& script : scripts) {
    for (const char* flag : {"--help", "-h"}) {
      const ProcessResult result = checkout.Run(script, flag);
      INFO(script << " " << flag << "\n" << result.out << result.err);
      CHECK(result.exit_code == 0);
      CHECK(result.err.empty());
      CHECK(Contains(result.out, script));
      CHECK_FALSE(Contains(result.out, "set -euo"));
      CHECK_FALSE(checkout.Touched());
    }
  }
}

TEST_CASE("scripts: an unknown flag is refused with exit code 2") {
  const BareCheckout checkout;
  const std::string programs = fs::path(testing::Program("run_eval")).parent_path();
  for (const std::string& script : checkout.Scripts()) {
    const ProcessResult result =
        checkout.Run(script, "--nonsense", {.environment = {{"QUANTREF_BIN", programs}}});
    INFO(script << "\n" << result.out << result.err);
    CHECK(result.exit_code == 2);
    CHECK(result.out.empty());
    CHECK_FALSE(result.err.empty());
    CHECK_FALSE(checkout.Touched());
  }
}

}  // namespace
}  // namespace quantref
