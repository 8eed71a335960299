#include "eval/config/read_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/config/check.h"
#include "eval/config/key_reader.h"
#include "eval/config/read_candidates.h"
#include "eval/config/read_quantize.h"
#include "eval/config/sections.h"
#include "eval/config/sweep.h"
#include "eval/support/nearest.h"
#include "eval/support/yaml_reader.h"
#include "eval/text/dataset.h"
#include "harness/base/error.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

// Reads a map by its rows. What the rows do not tell is the caller's to check.
template <typename Visit>
void ReadSection(YamlReader& yaml, Visit visit) {
  KeyReader reader(yaml);
  visit(reader);
  yaml.RefuseUnknownKeys();
}

void ReadModel(YamlReader& yaml, RunConfig::ModelChoice& choice) {
  if (!yaml.IsMap("model")) return yaml.Set("model", choice.name);
  YamlReader model = yaml.Map("model");
  choice.synthetic = model.Has("synthetic");
  if (!choice.synthetic)
    return ReadSection(model, [&](KeyVisitor& reader) { VisitModel(reader, choice); });
  for (const char* key : {"name", "dtype", "outliers"}) {
    if (model.Has(key))
      model.Fail(key, "no such key beside synthetic: a shape with random weights");
  }
  ReadSection(model, [&](KeyVisitor& reader) { VisitSynthetic(reader, choice); });
}

// Of the text of a section.
void CheckTextKeys(YamlReader& yaml, const std::string& dataset, const std::string& split) {
  try {
    CheckTextName(dataset, split);
  } catch (const Error& error) {
    // A split that is not given is the section's usual one.
    const std::string key = yaml.Has(error.where()) ? error.where() : "dataset";
    throw Error(error.problem(), yaml.Where(key), error.hint());
  }
}

void CheckProtocol(YamlReader& yaml, const RunConfig::Accuracy& accuracy) {
  try {
    accuracy.ChosenProtocol();
  } catch (const Error& error) {
    throw Error(error.problem(), yaml.Where(yaml.Has("window") ? "window" : "protocol"),
                error.hint());
  }
}

void ReadAccuracy(YamlReader yaml, RunConfig& config) {
  ReadSection(yaml,
              [&](KeyVisitor& reader) { VisitAccuracy(reader, config.accuracy, config.path); });
  CheckTextKeys(yaml, config.accuracy.dataset, config.accuracy.split);
  CheckProtocol(yaml, config.accuracy);
  if (config.accuracy.stop && config.accuracy.order == OrderRule::kText)
    yaml.Fail("order", "random", "a stop rule looks at windows from anywhere in the text");
}

void ReadFinetune(YamlReader yaml, RunConfig& config) {
  ReadSection(yaml, [&](KeyVisitor& reader) { VisitFinetune(reader, config.finetune); });
  CheckTextKeys(yaml, config.finetune.dataset, config.finetune.split);
  TrainSpec& train = config.finetune.train;
  if (!yaml.Has("warmup")) train.warmup = std::min(train.warmup, train.steps / 10);
  if (train.warmup >= train.steps)
    yaml.Fail("warmup", fmt::format("fewer than the {} steps", train.steps));
  const auto is_qat = [](const CellConfig& cell) { return cell.training == Training::kQat; };
  if (train.scales == TrainedScales::kLearned && std::ranges::none_of(config.cells, is_qat))
    yaml.Fail("scales", "recomputed, as no method is trained while it is rounded (rtn+qat)");
}

void ReadThroughput(YamlReader& yaml, ThroughputSpec& spec) {
  if (!yaml.IsMap("throughput")) {
    spec.measure = yaml.Choice("throughput", {"none", "false", "true"}, "true") == "true";
    return;
  }
  YamlReader section = yaml.Map("throughput");
  ReadSection(section, [&](KeyVisitor& reader) { VisitThroughput(reader, spec); });
  if (!spec.kernels && spec.prefill == 0 && spec.decode == 0)
    yaml.Fail("throughput", "kernels, prefill or decode to measure", "or throughput: none");
}

// Random weights say nothing of accuracy, and there is no text that they could be calibrated on.
void CheckSynthetic(YamlReader& yaml, const RunConfig& config) {
  if (!config.model.synthetic) return;
  constexpr char kHint[] = "model.synthetic has random weights: it is for throughput alone";
  for (const char* section : {"accuracy", "calibration", "finetune", "candidates"}) {
    if (yaml.Has(section)) yaml.Fail(section, "no such section beside model.synthetic", kHint);
  }
  if (!config.throughput.measure) yaml.Fail("throughput", "something to measure", kHint);
  for (const CellConfig& cell : config.cells) {
    if (cell.budget)
      throw Error(cell.label + ": a model with random weights takes no budget",
                  yaml.Where("quantize"), kHint);
    const WeightScheme& scheme = cell.quantize.weights;
    bool plain = cell.MethodName() == ToNearest().name();
    bool held =
        scheme.granularity == Granularity::kGroup || scheme.granularity == Granularity::kRow;
    for (const SchemeOverride& entry : cell.quantize.overrides) {
      plain = plain && (entry.method.empty() || entry.method == ToNearest().name());
      held = held && (!entry.granularity || *entry.granularity == Granularity::kGroup ||
                      *entry.granularity == Granularity::kRow);
    }
    const bool fixed = !cell.activations || cell.activations->dynamic;
    const char* wrong = !plain  ? "no method but rtn"
                        : !held ? "scales by group or row"
                                : "dynamic scales of activations";
    if (plain && held && fixed) continue;
    throw Error(fmt::format("{}: a model with random weights takes {}", cell.label, wrong),
                yaml.Where("quantize"), kHint);
  }
}

void CheckName(YamlReader& yaml, const std::string& name) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 80 || name[0] == '.' ||
      !std::all_of(name.begin(), name.end(), fits)) {
    yaml.Fail("name", "up to 80 letters, digits, '.', '_' or '-'", "records are named after it");
  }
}

// The tree of a file that is no study, or of a study's point.
RunConfig ReadConfig(const YAML::Node& tree, const std::string& file, const SweepPoint& point) {
  YamlReader yaml(tree, file);
  RunConfig config;
  config.file = file;
  yaml.Set("name", config.name);
  CheckName(yaml, config.name);
  if (!point.suffix.empty()) {
    config.study = config.name;
    config.name += point.suffix;
    CheckName(yaml, config.name);
  }
  ReadModel(yaml, config.model);
  ReadQuantize(yaml.Map("quantize"), config);
  ReadCandidates(yaml, config);
  config.calibration.asked = yaml.Has("calibration");
  YamlReader calibration = yaml.Map("calibration");
  ReadSection(calibration,
              [&](KeyVisitor& reader) { VisitCalibration(reader, config.calibration); });
  CheckTextKeys(calibration, config.calibration.dataset, config.calibration.split);
  ReadFinetune(yaml.Map("finetune"), config);
  ReadAccuracy(yaml.Map("accuracy"), config);
  ReadThroughput(yaml, config.throughput);
  CheckSynthetic(yaml, config);
  ReadSection(yaml, [&](KeyVisitor& reader) { VisitOffline(reader, config.sample_when_offline); });
  return config;
}

// Takes out the methods that the point goes without. Returns whether any is left, or there never
// was one.
bool DropMethods(const SweepPoint& point, RunConfig& config) {
  if (point.excluded.empty()) return true;
  std::vector<std::string> labels;
  for (const CellConfig& cell : config.cells) labels.push_back(cell.label);
  for (const SweepPoint::ExcludedMethod& method : point.excluded) {
    if (std::find(labels.begin(), labels.end(), method.label) == labels.end()) {
      throw Error(fmt::format("the study has no method '{}'{}", method.label,
                              DidYouMean(method.label, labels)),
                  method.where);
    }
    std::erase_if(config.cells, [&](const CellConfig& cell) { return cell.label == method.label; });
  }
  return !config.cells.empty();
}

}  // namespace

std::vector<RunConfig> ReadRunConfigs(const std::string& file,
                                      const std::vector<std::string>& assignments,
                                      const std::vector<std::string>& candidates) {
  return ParseRunConfigs({file, ReadYamlText(file)}, assignments, candidates);
}

std::vector<RunConfig> ParseRunConfigs(const ConfigText& text,
                                       const std::vector<std::string>& assignments,
                                       const std::vector<std::string>& candidates) {
  const std::string& file = text.file;
  YAML::Node root = ParseYaml(text.text, file);
  for (const std::string& assignment : assignments) SetConfig(root, assignment);
  ListCandidates(root, candidates);
  CheckConfigKeys(root, file);
  std::vector<RunConfig> configs;
  ForEachPoint(root, file, [&](const YAML::Node& tree, const SweepPoint& point) {
    try {
      RunConfig config = ReadConfig(tree, file, point);
      if (DropMethods(point, config)) configs.push_back(std::move(config));
    } catch (const Error& error) {
      if (point.text.empty()) throw;
      throw Error(fmt::format("{} (in the study's point {})", error.problem(), point.text),
                  error.where(), error.hint());
    }
  });
  if (configs.empty()) {
    throw Error("every point of the study is excluded, so that none is left to measure",
                file + ": exclude");
  }
  return configs;
}

}  // namespace quantref
