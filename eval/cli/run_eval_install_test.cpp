#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "eval/testing/run_eval_lab.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CheckDone;
using testing::ProcessResult;

TEST_CASE("run_eval: the installed tree works by itself") {
  const testing::RunEvalLab lab;
  const fs::path prefix = lab / "prefix";
  CheckDone(testing::RunProcess(
      {QUANTREF_CMAKE, "--install", QUANTREF_BUILD_DIR, "--prefix", prefix.string()}));
  const std::string program = (prefix / "bin/run_eval").string();
  const ProcessResult models = testing::RunProcess({program, "--list", "models"}, lab.Options());
  CheckDone(models);
  const std::string bundled = (prefix / "share/quantref/reference/wikilm-2m").string();
  CHECK(models.out.find(bundled) != std::string::npos);
  const std::string smoke = (prefix / "share/quantref/configs/smoke.yaml").string();
  CheckDone(testing::RunProcess({program, smoke, "--windows", "1"}, lab.Options()));
  CHECK(lab.RecordFiles().size() == 2);
}

}  // namespace
}  // namespace quantref
