#include "eval/run_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/nearest.h"
#include "eval/protocol.h"
#include "eval/read_quantize.h"
#include "eval/stats.h"
#include "eval/yaml_reader.h"
#include "harness/base/error.h"
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

void ReadModel(YamlReader& yaml, RunConfig::ModelChoice& choice) {
  if (!yaml.IsMap("model")) return yaml.Set("model", choice.name);
  YamlReader model = yaml.Map("model");
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

void ReadCalibration(YamlReader yaml, RunConfig::Calibration& calibration) {
  yaml.Set("dataset", calibration.dataset);
  yaml.Set("split", calibration.split);
  yaml.Set("samples", calibration.samples, 1, size_t{1} << 20);
  yaml.Set("length", calibration.length, 1, size_t{1} << 20);
  calibration.seeds = ReadSeeds(yaml);
  yaml.Set("sequential", calibration.sequential);
  yaml.Set("allow_overlap", calibration.allow_overlap);
  yaml.RefuseUnknownKeys();
}

void ReadMetrics(YamlReader& yaml, std::vector<std::string>& metrics) {
  static const std::vector<std::string> known = {"ppl", "kl", "top1"};
  yaml.Set("metrics", metrics);
  for (const std::string& metric : metrics) {
    if (std::find(known.begin(), known.end(), metric) != known.end()) continue;
    throw Error(fmt::format("unknown metric '{}'{}", metric, DidYouMean(metric, known)),
                yaml.Where("metrics"));
  }
  if (std::find(metrics.begin(), metrics.end(), "ppl") == metrics.end()) {
    yaml.Fail("metrics", "a list with ppl", "perplexity is always measured");
  }
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

void ReadAccuracy(YamlReader yaml, RunConfig::Accuracy& accuracy) {
  yaml.Set("dataset", accuracy.dataset);
  yaml.Set("split", accuracy.split);
  std::vector<std::string> protocols;
  for (const Protocol& protocol : Protocols()) protocols.push_back(protocol.name);
  accuracy.protocol = yaml.Choice("protocol", protocols, accuracy.protocol);
  ReadMetrics(yaml, accuracy.metrics);
  if (yaml.IsMap("stop")) {
    accuracy.stop = ReadStop(yaml.Map("stop"));
  } else {
    yaml.Choice("stop", {"none"}, "none");
  }
  yaml.RefuseUnknownKeys();
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

}  // namespace

RunConfig ReadRunConfig(const std::string& file, const std::vector<std::string>& assignments) {
  YAML::Node root = ReadYaml(file);
  for (const std::string& assignment : assignments) SetYaml(root, assignment);
  YamlReader yaml(root, file);
  RunConfig config;
  config.file = file;
  yaml.Set("name", config.name);
  CheckName(yaml, config.name);
  ReadModel(yaml, config.model);
  ReadQuantize(yaml.Map("quantize"), config);
  config.calibration.asked = yaml.Has("calibration");
  ReadCalibration(yaml.Map("calibration"), config.calibration);
  ReadAccuracy(yaml.Map("accuracy"), config.accuracy);
  if (yaml.Has("throughput"))
    yaml.Fail("throughput", "no such key", "this version does not measure throughput");
  config.sample_when_offline = yaml.Choice("offline", {"sample", "error"}, "error") == "sample";
  yaml.RefuseUnknownKeys();
  return config;
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
