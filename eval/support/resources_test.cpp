#include "eval/support/resources.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

TEST_CASE("resources: the bundled models are found by name, each complete") {
  const std::vector<std::string> models = BundledModels();
  CHECK(std::is_sorted(models.begin(), models.end()));
  CHECK(std::count(models.begin(), models.end(), "wikilm-2m") == 1);
  CHECK(std::count(models.begin(), models.end(), "wikilm-28m") == 1);
  for (const std::string& model : models) {
    for (const char* file : {"config.json", "model.safetensors", "tokenizer.model"}) {
      INFO(model << " " << file);
      CHECK(fs::is_regular_file(FindModel(model) / file));
    }
  }
}

TEST_CASE("resources: the sample has a text to test and one to calibrate") {
  CHECK(fs::is_regular_file(SampleDir() / "sample.test.raw"));
  CHECK(fs::is_regular_file(SampleDir() / "sample.validation.raw"));
}

TEST_CASE("resources: any folder may be a model") {
  const testing::TempDir dir;
  CHECK(FindModel(dir.path().string()) == dir.path());
}

TEST_CASE("resources: what is neither a bundled model nor a folder is an error") {
  const testing::TempDir dir;
  testing::WriteFile(dir / "file", "x");
  CHECK_ERROR(FindModel("wikilm-28"), "model: wikilm-28", "did you mean 'wikilm-28m'?");
  CHECK_ERROR(FindModel("gpt"), "model: gpt", "wikilm-28m", "wikilm-2m", "config.json");
  CHECK_ERROR(FindModel(""), "model: ");
  CHECK_ERROR(FindModel((dir / "none").string()), "no folder of this name");
  CHECK_ERROR(FindModel((dir / "file").string()), "no folder of this name");
  CHECK_ERROR(FindModel(std::string(5000, 'x')), "no folder of this name");
}

}  // namespace
}  // namespace quantref
