#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/io/json_file.h"
#include "harness/model/transformer.h"
#include "harness/testing/testing.h"

// Tiny models of all families, for tests of what must hold for each. Only tests include this.

namespace quantref::testing {

struct GoldenModel {
  std::string name;  // of its folder
  std::filesystem::path dir;
  ModelConfig config;
  ModelWeights weights;
  std::vector<uint32_t> ids;  // those of its expected.json
};

// The golden checkpoints (scripts/goldens).
inline const std::vector<GoldenModel>& GoldenModels() {
  static const std::vector<GoldenModel> models = [] {
    namespace fs = std::filesystem;
    std::vector<GoldenModel> all;
    for (const fs::directory_entry& entry :
         fs::directory_iterator(SourceDir() / "harness" / "model" / "testdata")) {
      const fs::path& dir = entry.path();
      if (!fs::exists(dir / "expected.json")) continue;
      GoldenModel model{dir.filename(), dir, ReadConfig(dir / "config.json"), {}, {}};
      model.weights = LoadWeights(model.config, Checkpoint::Open(dir), WeightType::kNative, 1);
      model.ids = ReadJsonFile(dir / "expected.json")["input_ids"].get<std::vector<uint32_t>>();
      all.push_back(std::move(model));
    }
    return all;
  }();
  return models;
}

}  // namespace quantref::testing
