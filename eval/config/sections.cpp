#include "eval/config/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/record/schema.h"
#include "eval/stats/stats.h"
#include "eval/support/nearest.h"
#include "eval/support/yaml_reader.h"
#include "harness/base/error.h"
#include "harness/model/synthetic.h"

namespace quantref {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMostSamples = 1 << 20, kMostTimedTokens = 1 << 16, kMostThreads = 1024;
constexpr double kMostKvGroup = 1 << 16;
constexpr double kMostRank = 1 << 14, kMostAlpha = 1e6;
constexpr double kLongestWindow = 1 << 24, kMostMinWindows = 4294967296.0;

void VisitOutliers(KeyVisitor& visitor, OutlierSpec& outliers) {
  visitor.Number({.name = "channels",
                  .about = "share of the hidden channels that get them",
                  .most = 1,
                  .above_least = true},
                 outliers.channels);
  visitor.Number({.name = "scale", .about = "how loud they are", .least = 1e-4, .most = 1e4},
                 outliers.scale);
  visitor.Count({.name = "seed", .about = "which channels", .most = kMostSeed}, outliers.seed);
}

// `seed` is short for `seeds` with one value.
void ReadSeed(YamlReader& yaml, std::vector<size_t>& seeds) {
  if (!yaml.Has("seed")) return;
  if (yaml.Has("seeds")) yaml.Fail("seeds", "either seed or seeds");
  if (!yaml.IsScalar("seed")) yaml.Fail("seed", "one seed", "for several: seeds: [0, 1]");
  size_t seed = 0;
  yaml.Set("seed", seed, 0, CountLimit(kMostSeed));
  seeds = {seed};
}

std::vector<std::string> MetricNames() {
  std::vector<std::string> names;
  for (const MetricInfo& metric : KnownMetrics()) names.push_back(metric.name);
  return names;
}

std::vector<std::string> NamesOf(const Metrics& metrics) {
  std::vector<std::string> names;
  for (const MetricInfo& metric : KnownMetrics()) {
    if (metric.asked == nullptr || metrics.*metric.asked) names.push_back(metric.name);
  }
  return names;
}

Metrics ReadMetrics(YamlReader& yaml) {
  const std::vector<std::string> known = MetricNames();
  std::vector<std::string> names = NamesOf({});
  yaml.Set("metrics", names);
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw Error(fmt::format("unknown metric '{}'{}", name, DidYouMean(name, known)),
                yaml.Where("metrics"));
  }
  Metrics metrics;
  for (const MetricInfo& metric : KnownMetrics()) {
    const bool named = std::find(names.begin(), names.end(), metric.name) != names.end();
    if (metric.asked != nullptr) metrics.*metric.asked = named;
    if (metric.asked == nullptr && !named) {
      yaml.Fail("metrics", fmt::format("a list with {}", metric.name),
                fmt::format("{} is always measured", metric.name));
    }
  }
  if (metrics.kept_logits && !metrics.kl)
    yaml.Fail("metrics", "kl beside kept_logits", "it is what they are compared with");
  return metrics;
}

void VisitStop(KeyVisitor& visitor, StopRule& stop) {
  visitor.Number({.name = "delta_nll_halfwidth",
                  .required = true,
                  .about = "half the width of the 95 % interval to stop at",
                  .above_least = true,
                  .unit = "nats a token"},
                 stop.delta_nll_halfwidth);
  visitor.Count({.name = "min_windows",
                 .about = "before the first look",
                 .least = kMinBlocks,
                 .most = kMostMinWindows,
                 .unit = "windows"},
                stop.min_windows);
  visitor.Count({.name = "seed", .about = "of the order", .most = kMostSeed}, stop.seed);
}

// How the text becomes windows, and which of them are measured.
void VisitWindows(KeyVisitor& visitor, RunConfig::Accuracy& accuracy) {
  visitor.Text({.name = "protocol",
                .about = "gptq-N, llamacpp-N, full-stride: how the text becomes windows, which "
                         "tokens count"},
               accuracy.protocol);
  visitor.Count({.name = "window",
                 .about = "the protocol's, or this many whatever its name says",
                 .least = 2,
                 .most = kLongestWindow,
                 .unit = "tokens",
                 .words = {"protocol"}},
                accuracy.window);
  visitor.Choice({.name = "bos", .about = "whether texts begin with BOS: as the tokenizer says"},
                 accuracy.bos,
                 {{"tokenizer", BosRule::kTokenizer},
                  {"always", BosRule::kAlways},
                  {"never", BosRule::kNever}});
  visitor.Special(
      {.name = "metrics",
       .kind = ConfigKey::Kind::kChoice,
       .about = "ppl alone saves the pass over the vocabulary; kept_logits: KL by what tools keep "
                "of the reference's logits",
       .words = MetricNames(),
       .list = true},
      [&](YamlReader& yaml) { accuracy.metrics = ReadMetrics(yaml); },
      [&](Json& json) { json = NamesOf(accuracy.metrics); });
  visitor.Choice(
      {.name = "order", .about = "in which windows are measured; no figure depends on it"},
      accuracy.order, {{"random", OrderRule::kRandom}, {"text", OrderRule::kText}});
  visitor.MapOrNone(
      {.name = "stop", .about = "a map: windows in random order until the intervals are narrow"},
      accuracy.stop, VisitStop);
}

// A bound of 0 would ask for equal bits, which no two ways of adding up give.
void VisitPath(KeyVisitor& visitor, RunConfig::Path& path) {
  visitor.Choice(
      {.name = "path", .about = "products by the kernels that are timed, or from decoded weights"},
      path.kernels, {{"kernel", true}, {"simulated", false}});
  visitor.Number(
      {.name = "max_path_gap",
       .about = "the most that kernels may change logits, mean KL; of codebooks 100 times that",
       .above_least = true,
       .unit = "nats"},
      path.max_gap);
  visitor.Number(
      {.name = "max_linear_gap",
       .about = "the most that they may change any linear, relatively; of codebooks 10 times that",
       .above_least = true},
      path.max_linear_gap);
}

void VisitKvScheme(KeyVisitor& visitor, KvScheme& scheme) {
  auto bits = static_cast<size_t>(scheme.bits);
  visitor.Count(
      {.name = "bits", .about = "of a code", .least = kMinBits, .most = kMaxBits, .unit = "bits"},
      bits);
  scheme.bits = static_cast<int>(bits);
  visitor.Choice(
      {.name = "keys", .about = "what shares a scale: a channel, a token, its head"}, scheme.keys,
      {{"channel", KvReach::kChannel}, {"token", KvReach::kToken}, {"head", KvReach::kHead}});
  visitor.Choice({.name = "values", .about = "what shares a scale: a token, its head"},
                 scheme.values, {{"token", KvReach::kToken}, {"head", KvReach::kHead}});
  visitor.Count({.name = "group",
                 .about = "tokens of a channel, or channels of a token's head; row: all heads",
                 .least = kKvBlock,
                 .most = kMostKvGroup,
                 .words = {"row"}},
                scheme.group);
  visitor.Flag({.name = "symmetric", .about = "no minimum beside a scale"}, scheme.symmetric);
  visitor.Count({.name = "residual",
                 .about = "the last so many stay as they are",
                 .most = kMostSamples,
                 .unit = "tokens"},
                scheme.residual);
}

}  // namespace

const std::vector<MetricInfo>& KnownMetrics() {
  static const std::vector<MetricInfo> metrics = {
      {"ppl", "exp of the mean negative log-likelihood of a token; always measured", nullptr},
      {"kl", "mean KL(reference || cell) over the vocabulary, its quantiles and largest",
       &Metrics::kl},
      {"top1", "share of positions where both find the same token most likely", &Metrics::top1},
      {"kept_logits", "KL as of logits that are kept in 16 bits, or of the largest of them",
       &Metrics::kept_logits}};
  return metrics;
}

void VisitKvCache(KeyVisitor& visitor, std::optional<KvScheme>& scheme) {
  visitor.MapOrNone(
      {.name = "kv_cache", .about = "a map: keys and values are rounded as they enter the cache"},
      scheme, VisitKvScheme);
}

void VisitModel(KeyVisitor& visitor, RunConfig::ModelChoice& model) {
  visitor.Path(
      {.name = "name", .about = "a bundled or fetched model, a Hugging Face folder, a .gguf file"},
      model.name);
  visitor.Choice(
      {.name = "dtype", .about = "weights as the checkpoint has them, or rounded to FP16 first"},
      model.weight_type, {{"native", WeightType::kNative}, {"fp16", WeightType::kFp16}});
  visitor.MapOrNone(
      {.name = "outliers",
       .about = "a map: the activation outliers of a very large model, at the same function"},
      model.outliers, VisitOutliers);
}

void VisitSynthetic(KeyVisitor& visitor, RunConfig::ModelChoice& model) {
  std::vector<std::string> shapes;
  for (const SyntheticShape& shape : SyntheticShapes()) shapes.emplace_back(shape.name);
  visitor.Word({.name = "synthetic",
                .about = "in place of name: a shape with random weights, for throughput alone",
                .words = shapes},
               model.name);
  visitor.Count({.name = "seed", .about = "of those weights", .most = kMostSeed}, model.seed);
}

void VisitCalibration(KeyVisitor& visitor, CalibrationSpec& calibration) {
  visitor.Path({.name = "dataset", .about = "the text that methods calibrate on"},
               calibration.dataset);
  visitor.Text({.name = "split", .about = "of the data set"}, calibration.split);
  visitor.Count({.name = "samples",
                 .about = "at random places",
                 .least = 1,
                 .most = kMostSamples,
                 .unit = "windows"},
                calibration.samples);
  visitor.Count({.name = "length",
                 .about = "of each, cut to the model's context",
                 .least = 1,
                 .most = kMostSamples,
                 .unit = "tokens"},
                calibration.length);
  visitor.Counts({.name = "seeds", .about = "which windows; each is a cell", .most = kMostSeed},
                 calibration.seeds);
  visitor.Special(
      {.name = "seed",
       .kind = ConfigKey::Kind::kCount,
       .about = "short for seeds with one value",
       .most = kMostSeed},
      [&](YamlReader& yaml) { ReadSeed(yaml, calibration.seeds); }, [](Json&) {});
  visitor.Flag({.name = "sequential",
                .about = "blocks are calibrated on what the quantized ones before them give"},
               calibration.sequential);
  visitor.Flag({.name = "allow_overlap",
                .about = "go on, stamped, where the samples hold too much of the test text"},
               calibration.allow_overlap);
}

void VisitFinetune(KeyVisitor& visitor, FinetuneSpec& finetune) {
  visitor.Path({.name = "dataset", .about = "the text that qat, lora and full train on"},
               finetune.dataset);
  visitor.Text({.name = "split", .about = "of the data set"}, finetune.split);
  visitor.Count({.name = "seed", .about = "which windows of it", .most = kMostSeed}, finetune.seed);
  TrainSpec& train = finetune.train;
  visitor.Count({.name = "steps", .about = "of AdamW", .least = 1, .most = kMostSamples},
                train.steps);
  visitor.Count({.name = "batch",
                 .about = "that a step reads, at random places",
                 .least = 1,
                 .most = kMostSamples,
                 .unit = "windows"},
                train.batch);
  visitor.Count({.name = "length",
                 .about = "of each, cut to the model's context",
                 .least = 2,
                 .most = kMostSamples,
                 .unit = "tokens"},
                train.length);
  visitor.Choice({.name = "loss", .about = "KL to the reference, or cross-entropy of the text"},
                 train.loss, {{"kl", TrainingLoss::kKl}, {"ce", TrainingLoss::kCrossEntropy}});
  visitor.Choice(
      {.name = "scales", .about = "of qat: chosen anew before each step, or trained"}, train.scales,
      {{"recomputed", TrainedScales::kRecomputed}, {"learned", TrainedScales::kLearned}});
  visitor.Number({.name = "lr", .about = "the highest rate", .most = 1, .above_least = true},
                 train.rate);
  visitor.Count({.name = "warmup",
                 .about = "in which the rate rises; then it falls as half a cosine",
                 .most = kMostSamples - 1,
                 .unit = "steps"},
                train.warmup);
  visitor.Number({.name = "weight_decay", .about = "of matrices, times the rate", .most = 10},
                 train.adamw.decay);
  visitor.Number({.name = "clip", .about = "the most that the gradient's norm may be; 0: any"},
                 train.adamw.clip);
  visitor.Count({.name = "checkpoint",
                 .about = "between those that --resume goes on from; 0: none",
                 .most = kMostSamples,
                 .unit = "steps"},
                finetune.checkpoint);
  visitor.Flag({.name = "allow_overlap",
                .about = "go on, stamped, where the samples hold too much of the test text"},
               finetune.allow_overlap);
}

void VisitLora(KeyVisitor& visitor, LoraSpec& lora) {
  visitor.Count({.name = "rank",
                 .about = "of an adapter, below both sides of its matrix",
                 .least = 1,
                 .most = kMostRank},
                lora.rank);
  visitor.Number({.name = "alpha",
                  .about = "what an adapter gives is times alpha / rank",
                  .most = kMostAlpha,
                  .above_least = true},
                 lora.alpha);
  visitor.Special(
      {.name = "targets",
       .kind = ConfigKey::Kind::kText,
       .about = "globs of quantized matrices that get one",
       .list = true},
      [&](YamlReader& yaml) {
        yaml.Set("targets", lora.targets);
        if (lora.targets.empty()) yaml.Fail("targets", "at least one glob, like *.q_proj");
      },
      [&](Json& json) { json = lora.targets; });
  visitor.Choice(
      {.name = "merge", .about = "kept apart, added to FP16 weights, or rounded again"}, lora.merge,
      {{"none", LoraMerge::kNone}, {"fp16", LoraMerge::kFp16}, {"round", LoraMerge::kRound}});
}

void VisitAccuracy(KeyVisitor& visitor, RunConfig::Accuracy& accuracy, RunConfig::Path& path) {
  visitor.Path({.name = "dataset", .about = "a data set, or the path of a UTF-8 text file"},
               accuracy.dataset);
  visitor.Text({.name = "split", .about = "of the data set"}, accuracy.split);
  VisitWindows(visitor, accuracy);
  VisitPath(visitor, path);
}

void VisitThroughput(KeyVisitor& visitor, ThroughputSpec& throughput) {
  visitor.Flag({.name = "kernels", .about = "each distinct linear, beside FP16 and OpenBLAS"},
               throughput.kernels);
  visitor.Flag({.name = "standard_shapes", .about = "and shapes of 7B to 8B models"},
               throughput.standard_shapes);
  visitor.Counts({.name = "tokens",
                  .about = "of those products",
                  .least = 1,
                  .most = kMostTimedTokens,
                  .unit = "tokens"},
                 throughput.tokens);
  visitor.Count({.name = "prefill",
                 .about = "that models process at once",
                 .most = kMostTimedTokens,
                 .unit = "tokens"},
                throughput.prefill);
  visitor.Count({.name = "decode",
                 .about = "that follow one by one",
                 .most = kMostTimedTokens,
                 .unit = "tokens"},
                throughput.decode);
  visitor.Count({.name = "repetitions",
                 .about = "of each, interleaved",
                 .least = 1,
                 .most = kMostRepetitions,
                 .unit = "samples"},
                throughput.repetitions);
  visitor.Counts({.name = "threads",
                  .about = "each number is measured apart",
                  .least = 1,
                  .most = kMostThreads},
                 throughput.threads);
}

void VisitOffline(KeyVisitor& visitor, bool& sample_when_offline) {
  visitor.Choice(
      {.name = "offline", .about = "without the data set: measure on the bundled text, or fail"},
      sample_when_offline, {{"sample", true}, {"error", false}});
}

}  // namespace quantref
