#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/text/calibration.h"
#include "eval/text/calibration_spec.h"
#include "eval/text/dataset.h"
#include "eval/text/protocol.h"
#include "harness/model/load_model.h"

// What runs read, each thing once where several have it in common.

namespace quantref {

// Says loudly where the bundled sample stands in, unless quiet.
Text LoadRunText(const std::string& dataset, const std::string& split, const RunConfig& config,
                 bool quiet);

// What texts begin with under the config's rule; nothing: no BOS. Throws Error where the model has
// none to put.
std::optional<uint32_t> ChooseBos(const Model& model, BosRule rule);

// Loads models; the latest is kept for whoever asks for the same next.
class ModelLoader {
 public:
  explicit ModelLoader(size_t threads) : threads_(threads) {}
  std::shared_ptr<const Model> Load(const RunConfig::ModelChoice& choice);

 private:
  const size_t threads_;
  RunConfig::ModelChoice choice_;
  std::shared_ptr<const Model> latest_;
};

// Draws calibration and training samples of one model's tokens, each set once. All configs have one
// rule for BOS.
class CalibrationSets {
 public:
  // The set stays where it is for as long as this lives. `test`: as DrawCalibration's. Says loudly
  // where less is read than was asked for, unless quiet.
  const CalibrationSet& Draw(const RunConfig& config, const CalibrationSamples& samples,
                             size_t seed, const Model& model, const TestText& test, bool quiet);

  // Reads the texts that the configs ask for ahead of Draw, and returns what is left to be done for
  // it, in parallel: their tokens. What cannot be had Draw will say.
  std::vector<std::function<void()>> Prepare(const std::vector<const RunConfig*>& configs,
                                             const Model& model, bool quiet);

  std::vector<InputFile> files() const;  // that were read for them

 private:
  struct Source {
    Text text;
    std::optional<TokenStream> stream;
  };
  Source& SourceOf(const RunConfig& config, const std::string& dataset, const std::string& split,
                   bool quiet);

  struct Drawn {
    CalibrationSamples asked;
    size_t seed;
    CalibrationSet set;
  };
  std::deque<Drawn> drawn_;
  std::map<std::pair<std::string, std::string>, Source> sources_;  // by data set and split
};

}  // namespace quantref
