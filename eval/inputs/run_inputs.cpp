#include "eval/inputs/run_inputs.h"

#include <fmt/format.h>

#include <set>
#include <tuple>

#include "eval/facts/texts.h"
#include "eval/record/stamps.h"
#include "eval/support/progress_bar.h"
#include "eval/support/public_name.h"
#include "eval/support/resources.h"
#include "eval/support/say.h"
#include "harness/base/cancel.h"
#include "harness/base/error.h"
#include "harness/formats/open_foreign.h"
#include "harness/method/outliers.h"

namespace quantref {
Text LoadRunText(const std::string& dataset, const std::string& split, const RunConfig& config,
                 bool quiet) {
  DatasetOptions options = DatasetOptions::FromEnvironment();
  ProgressBar bar("downloading " + PublicName(dataset), quiet);
  options.sample_when_offline = config.sample_when_offline;
  options.sample_dir = SampleDir();
  options.progress = [&](size_t done, size_t total) { bar.Update(done, total); };
  options.cancelled = CancelRequested;
  Text text = LoadText(dataset, split, options);
  if (text.substituted_sample && !quiet) SayText(SampleLine(text.dataset, text.split));
  return text;
}

std::optional<uint32_t> ChooseBos(const Model& model, BosRule rule) {
  if (rule == BosRule::kNever) return std::nullopt;
  if (rule == BosRule::kTokenizer) return model.adds_bos ? model.bos_id : std::nullopt;
  if (!model.bos_id) {
    throw Error(
        fmt::format("neither the config nor the tokenizer of {} names a BOS token", model.name),
        "accuracy.bos", "tokenizer or never");
  }
  return model.bos_id;
}

std::shared_ptr<const Model> ModelLoader::Load(const RunConfig::ModelChoice& choice) {
  if (latest_ != nullptr && choice == choice_) return latest_;
  latest_.reset();  // its memory may be needed
  Model model = LoadModel(PublicName(choice.name), FindModel(choice.name), choice.weight_type,
                          threads_, OpenForeign);
  if (choice.outliers) AddOutliers(model.config, *choice.outliers, model.weights);
  choice_ = choice;
  latest_ = std::make_shared<const Model>(std::move(model));
  return latest_;
}

const CalibrationSet& CalibrationSets::Draw(const RunConfig& config,
                                            const CalibrationSamples& samples, size_t seed,
                                            const Model& model, const TestText& test, bool quiet) {
  for (const Drawn& drawn : drawn_) {
    if (drawn.seed == seed && drawn.asked == samples) return drawn.set;
  }
  Source& source = SourceOf(config, samples.dataset, samples.split, quiet);
  if (!source.stream) {
    source.stream =
        CalibrationTokens(source.text, model.tokenizer, ChooseBos(model, config.accuracy.bos));
  }
  drawn_.push_back(
      {samples, seed,
       DrawCalibration(samples, seed, source.text, *source.stream, model.config.context, test)});
  const CalibrationSet& set = drawn_.back().set;
  if (!quiet) SayText(CalibrationWarning(set));
  return set;
}

std::vector<std::function<void()>> CalibrationSets::Prepare(
    const std::vector<const RunConfig*>& configs, const Model& model, bool quiet) {
  std::vector<std::function<void()>> tokenizing;
  std::set<Source*> sources;
  const auto prepare = [&](const RunConfig& config, const std::string& dataset,
                           const std::string& split) {
    try {
      Source& source = SourceOf(config, dataset, split, quiet);
      if (!sources.insert(&source).second) return;
      const std::optional<uint32_t> bos = ChooseBos(model, config.accuracy.bos);
      tokenizing.emplace_back([&source, &model, bos] {
        source.stream = CalibrationTokens(source.text, model.tokenizer, bos);
      });
    } catch (const Interrupted&) {
      throw;
    } catch (const Error&) {
    }
  };
  for (const RunConfig* config : configs) {
    if (config->calibration.asked)
      prepare(*config, config->calibration.dataset, config->calibration.split);
    if (config->Trains()) prepare(*config, config->finetune.dataset, config->finetune.split);
  }
  return tokenizing;
}

// All seeds draw from one reading.
CalibrationSets::Source& CalibrationSets::SourceOf(const RunConfig& config,
                                                   const std::string& dataset,
                                                   const std::string& split, bool quiet) {
  const auto known = sources_.find({dataset, split});
  if (known != sources_.end()) return known->second;
  Source source{LoadRunText(dataset, split, config, quiet), std::nullopt};
  return sources_.emplace(std::pair(dataset, split), std::move(source)).first->second;
}

std::vector<InputFile> CalibrationSets::files() const {
  std::vector<InputFile> files;
  for (const auto& [name, source] : sources_) files.push_back(source.text.file);
  return files;
}

}  // namespace quantref
