#include "eval/support/resources.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "harness/testing/scoped_variable.h"
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
  CHECK_ERROR(FindModel((dir / "none").string()), "no folder and no .gguf file");
  CHECK_ERROR(FindModel((dir / "file").string()), "expected a folder or a file whose name ends in",
              "found another file", "give the folder");
  CHECK_ERROR(FindModel(std::string(5000, 'x')), "no folder and no .gguf file");
}

TEST_CASE("resources: a model that can be fetched is a name when it is in the cache") {
  const testing::TempDir cache;
  const testing::ScopedVariable home("XDG_CACHE_HOME", cache.path().c_str());
  const std::vector<FetchableModel> models = FetchableModels();
  REQUIRE(models.size() == 2);
  for (const FetchableModel& model : models) {
    INFO(model.name);
    CHECK_FALSE(model.about.empty());
    CHECK_FALSE(model.licence.empty());
    CHECK(model.path.parent_path() == cache / "quantref/models/" / model.name);
    CHECK_FALSE(model.IsThere());
    CHECK_ERROR(FindModel(model.name), "model: " + model.name, "not there yet",
                "scripts/fetch_model " + model.name, model.path.string());
    testing::WriteFile(model.path, "half of it");
    CHECK_FALSE(model.IsThere());
    fs::resize_file(model.path, model.bytes);
    CHECK(model.IsThere());
    CHECK(FindModel(model.name) == model.path);
  }
  CHECK_ERROR(FindModel("smolm2-135m"), "did you mean 'smollm2-135m'?");
}

TEST_CASE("resources: a GGUF file is a model by its path") {
  const testing::TempDir dir;
  testing::WriteFile(dir / "m.gguf", "x");
  CHECK(FindModel((dir / "m.gguf").string()) == dir / "m.gguf");
  CHECK_ERROR(FindModel((dir / "none.gguf").string()), "no .gguf file");
}

}  // namespace
}  // namespace quantref
