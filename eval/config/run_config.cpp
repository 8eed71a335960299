#include "eval/config/run_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/config/check.h"
#include "eval/config/read_quantize.h"
#include "eval/config/read_throughput.h"
#include "eval/config/sweep.h"
#include "eval/stats/stats.h"
#include "eval/support/nearest.h"
#include "eval/support/yaml_reader.h"
#include "eval/text/calibration_spec.h"
#include "eval/text/protocol.h"
#include "harness/base/error.h"
#include "harness/model/synthetic.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

constexpr size_t kMaxSeed = static_cast<size_t>(-1) / 2;

OutlierSpec ReadOutliers(YamlReader yaml) {
  OutlierSpec outliers;
  yaml.Set("channels", outliers.channels);
  if (!(outliers.channels > 0 && outliers.channels <= 1))
    yaml.Fail("channels", "a share of the channels: above 0, at most 1");
  yaml.Set("scale", outliers.scale);
  if (!(outliers.scale >= 1e-4 && outliers.scale <= 1e4))
    yaml.Fail("scale", "a factor from 0.0001 to 10000");
  yaml.Set("seed", outliers.seed, 0, kMaxSeed);
  yaml.RefuseUnknownKeys();
  return outliers;
}

void ReadSynthetic(YamlReader& model, RunConfig::ModelChoice& choice) {
  std::vector<std::string> shapes;
  for (const SyntheticShape& shape : SyntheticShapes()) shapes.emplace_back(shape.name);
  choice.synthetic = true;
  choice.name = model.Choice("synthetic", shapes, "");
  model.Set("seed", choice.seed, 0, kMaxSeed);
  for (const char* key : {"name", "dtype", "outliers"}) {
    if (model.Has(key))
      model.Fail(key, "no such key beside synthetic: a shape with random weights");
  }
  model.RefuseUnknownKeys();
}

void ReadModel(YamlReader& yaml, RunConfig::ModelChoice& choice) {
  if (!yaml.IsMap("model")) return yaml.Set("model", choice.name);
  YamlReader model = yaml.Map("model");
  if (model.Has("synthetic")) return ReadSynthetic(model, choice);
  model.Set("name", choice.name);
  const bool fp16 = model.Choice("dtype", {"native", "fp16"}, "native") == "fp16";
  choice.weight_type = fp16 ? WeightType::kFp16 : WeightType::kNative;
  if (model.IsMap("outliers")) {
    choice.outliers = ReadOutliers(model.Map("outliers"));
  } else {
    model.Choice("outliers", {"none"}, "none");
  }
  model.RefuseUnknownKeys();
}

std::vector<size_t> ReadSeeds(YamlReader& yaml) {
  size_t seed = 0;
  if (yaml.Has("seed") && !yaml.IsScalar("seed"))
    yaml.Fail("seed", "one seed", "for several: seeds: [0, 1]");
  yaml.Set("seed", seed, 0, kMaxSeed);
  if (!yaml.Has("seeds")) return {seed};
  if (yaml.Has("seed")) yaml.Fail("seeds", "either seed or seeds");
  std::vector<size_t> seeds;
  yaml.Set("seeds", seeds, 0, kMaxSeed);
  for (size_t i = 0; i < seeds.size(); ++i) {
    if (std::count(seeds.begin(), seeds.end(), seeds[i]) > 1)
      yaml.Fail("seeds", "a list of different seeds");
  }
  if (seeds.empty()) yaml.Fail("seeds", "a list of at least one seed");
  return seeds;
}

void ReadCalibration(YamlReader yaml, CalibrationSpec& calibration) {
  yaml.Set("dataset", calibration.dataset);
  yaml.Set("split", calibration.split);
  yaml.Set("samples", calibration.samples, 1, size_t{1} << 20);
  yaml.Set("length", calibration.length, 1, size_t{1} << 20);
  calibration.seeds = ReadSeeds(yaml);
  yaml.Set("sequential", calibration.sequential);
  yaml.Set("allow_overlap", calibration.allow_overlap);
  yaml.RefuseUnknownKeys();
}

Metrics ReadMetrics(YamlReader& yaml) {
  static const std::vector<std::string> known = {"ppl", "kl", "top1"};
  std::vector<std::string> names = known;
  yaml.Set("metrics", names);
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw Error(fmt::format("unknown metric '{}'{}", name, DidYouMean(name, known)),
                yaml.Where("metrics"));
  }
  const auto has = [&](const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (!has("ppl")) yaml.Fail("metrics", "a list with ppl", "perplexity is always measured");
  return {.kl = has("kl"), .top1 = has("top1")};
}

StopRule ReadStop(YamlReader yaml) {
  StopRule stop;
  yaml.Set("delta_nll_halfwidth", stop.delta_nll_halfwidth);
  if (!(stop.delta_nll_halfwidth > 0)) {
    yaml.Fail("delta_nll_halfwidth", "a positive number of nats, like 0.002");
  }
  yaml.Set("min_windows", stop.min_windows, kMinBlocks, size_t{1} << 32);
  yaml.Set("seed", stop.seed, 0, kMaxSeed);
  yaml.RefuseUnknownKeys();
  return stop;
}

// A bound of 0 would ask for equal bits, which no two ways of adding up give.
void ReadGap(YamlReader& yaml, const char* key, double& gap) {
  yaml.Set(key, gap);
  if (!(gap > 0)) yaml.Fail(key, "a positive number");
}

void ReadPath(YamlReader& yaml, RunConfig::Path& path) {
  path.kernels = yaml.Choice("path", {"kernel", "simulated"}, "kernel") == "kernel";
  ReadGap(yaml, "max_path_gap", path.max_gap);
  ReadGap(yaml, "max_linear_gap", path.max_linear_gap);
}

void ReadProtocol(YamlReader& yaml, RunConfig::Accuracy& accuracy) {
  constexpr size_t kLongestWindow = size_t{1} << 24;
  yaml.Set("protocol", accuracy.protocol);
  if (yaml.Has("window") && yaml.Scalar("window", "'protocol' or a number of tokens") != "protocol")
    yaml.Set("window", accuracy.window, 2, kLongestWindow);
  const std::string bos = yaml.Choice("bos", {"tokenizer", "always", "never"}, "tokenizer");
  accuracy.bos = bos == "always"  ? BosRule::kAlways
                 : bos == "never" ? BosRule::kNever
                                  : BosRule::kTokenizer;
  try {
    accuracy.ChosenProtocol();
  } catch (const Error& error) {
    throw Error(error.problem(), yaml.Where(yaml.Has("window") ? "window" : "protocol"),
                error.hint());
  }
}

void ReadAccuracy(YamlReader yaml, RunConfig::Accuracy& accuracy, RunConfig::Path& path) {
  yaml.Set("dataset", accuracy.dataset);
  yaml.Set("split", accuracy.split);
  ReadProtocol(yaml, accuracy);
  accuracy.metrics = ReadMetrics(yaml);
  accuracy.order = yaml.Choice("order", {"random", "text"}, "random") == "text"
                       ? OrderRule::kText
                       : OrderRule::kRandom;
  if (yaml.IsMap("stop")) {
    accuracy.stop = ReadStop(yaml.Map("stop"));
    if (accuracy.order == OrderRule::kText)
      yaml.Fail("order", "random", "a stop rule looks at windows from anywhere in the text");
  } else {
    yaml.Choice("stop", {"none"}, "none");
  }
  ReadPath(yaml, path);
  yaml.RefuseUnknownKeys();
}

// Random weights say nothing of accuracy, and there is no text that they could be calibrated on.
void CheckSynthetic(YamlReader& yaml, const RunConfig& config) {
  if (!config.model.synthetic) return;
  constexpr char kHint[] = "model.synthetic has random weights: it is for throughput alone";
  for (const char* section : {"accuracy", "calibration"}) {
    if (yaml.Has(section)) yaml.Fail(section, "no such section beside model.synthetic", kHint);
  }
  if (!config.throughput.measure) yaml.Fail("throughput", "something to measure", kHint);
  for (const CellConfig& cell : config.cells) {
    const WeightScheme& scheme = cell.quantize.weights;
    bool plain = cell.transforms.empty() && cell.rounder == "rtn";
    bool held =
        scheme.granularity == Granularity::kGroup || scheme.granularity == Granularity::kRow;
    for (const SchemeOverride& entry : cell.quantize.overrides) {
      plain = plain && (entry.method.empty() || entry.method == "rtn");
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
  config.calibration.asked = yaml.Has("calibration");
  ReadCalibration(yaml.Map("calibration"), config.calibration);
  ReadAccuracy(yaml.Map("accuracy"), config.accuracy, config.path);
  config.throughput = ReadThroughput(yaml);
  CheckSynthetic(yaml, config);
  config.sample_when_offline = yaml.Choice("offline", {"sample", "error"}, "error") == "sample";
  yaml.RefuseUnknownKeys();
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
                                      const std::vector<std::string>& assignments) {
  YAML::Node root = ReadYaml(file);
  for (const std::string& assignment : assignments) SetConfig(root, assignment);
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

Protocol RunConfig::Accuracy::ChosenProtocol() const {
  const Protocol named = FindProtocol(protocol);
  return window == 0 ? named : WithWindow(named, window);
}

Method CellConfig::MakeMethod() const {
  Method method;
  for (const std::string& name : transforms) method.transforms.push_back(FindTransform(name));
  method.rounder = FindRounder(rounder);
  for (const SchemeOverride& entry : quantize.overrides) {
    if (!entry.method.empty()) method.other_rounders.push_back(FindRounder(entry.method));
  }
  method.knobs = knobs;
  method.activations = activations;
  return method;
}

}  // namespace quantref
