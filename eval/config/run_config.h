#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/accuracy/measure.h"
#include "eval/config/budget_spec.h"
#include "eval/config/finetune_spec.h"
#include "eval/speed/timing.h"
#include "eval/text/calibration_spec.h"
#include "harness/method/method.h"
#include "harness/method/outliers.h"
#include "harness/model/weights.h"
#include "harness/quant/kv_scheme.h"
#include "harness/quant/plan.h"

namespace quantref {

// What is done to a cell's weights beside rounding: nothing; behind the method they are trained
// while they are rounded, or stay and get adapters that are trained; or, of a cell that rounds
// nothing, they are trained as they are.
enum class Training { kNone, kQat, kLora, kFull };

inline constexpr char kQatMethod[] = "qat", kLoraMethod[] = "lora", kFullMethod[] = "full";
// Of what stands behind a method: "qat"; "" of the others.
std::string_view SuffixOf(Training training);

// One cell of a config beside the reference: a method with everything that it is to do, or a
// candidate, which has nothing but its path. Of a method: its own values where the config's
// `methods` entry gives some, the general ones elsewhere.
struct CellConfig {
  std::string label;                    // unique in the config: "smoothquant+gptq"
  std::vector<std::string> transforms;  // in their order
  std::string rounder;
  Training training = Training::kNone;
  QuantizeSpec quantize;
  std::optional<ActivationScheme> activations;
  std::optional<KvScheme> kv_cache;
  std::optional<BudgetSpec> budget{};  // what a code's bits are chosen under; none: as planned
  std::map<std::string, Knobs, std::less<>> knobs;  // of every plugin that has some
  LoraSpec lora{};                                  // of kLora
  // A quantized checkpoint that another tool made, as ModelChoice::name; "": a method makes it.
  std::string candidate{};

  bool IsCandidate() const { return !candidate.empty(); }

  // As configs name it: "awq+rtn+qat". Neither it nor MakeMethod are for candidates.
  std::string MethodName() const;
  // Of a cell that is trained. kFull is trained by cross-entropy whatever the section says: the
  // KL between the reference and itself is nothing to learn from. Scales are those of kQat alone.
  TrainSpec TrainedBy(const FinetuneSpec& finetune) const;
  // With pointers into the registry.
  Method MakeMethod() const;
  // Whether it does anything at all to a model that is planned so; else it is the reference.
  bool Changes(const std::vector<PlannedLinear>& plan) const {
    return IsCandidate() || kv_cache.has_value() || training == Training::kFull ||
           QuantizesAny(plan);
  }
};

// One config file, checked, with every default filled in. configs/README.md documents the keys.
struct RunConfig {
  std::string file;   // where it was read from
  std::string study;  // the name of the study that it is a point of; "": of none

  std::string name;  // of the experiment: letters, digits, '.', '_', '-'

  struct ModelChoice {
    std::string name = "wikilm-28m";  // a bundled name, or a folder
    WeightType weight_type = WeightType::kNative;
    std::optional<OutlierSpec> outliers;
    // Random weights in the shape that `name` says, for speed alone.
    bool synthetic = false;
    size_t seed = 0;  // of those
    bool operator==(const ModelChoice&) const = default;
  } model;

  CellConfig general;             // the `quantize` section, method apart
  std::vector<CellConfig> cells;  // besides fp16, which is always there: methods, then candidates

  CalibrationSpec calibration;
  FinetuneSpec finetune;

  bool Trains() const;  // some cell

  struct Accuracy {
    std::string dataset = "wikitext-2", split = "test";
    std::string protocol = "gptq-2048";  // as asked for; ChosenProtocol has the window too
    size_t window = 0;                   // 0: the protocol's
    BosRule bos = BosRule::kTokenizer;
    Metrics metrics;
    OrderRule order = OrderRule::kRandom;
    std::optional<StopRule> stop;
    Protocol ChosenProtocol() const;
    bool operator==(const Accuracy&) const = default;
  } accuracy;

  // Of the `accuracy` section, too, but of each config by itself where several share a measurement.
  struct Path {
    bool kernels = true;  // the integer kernels, where they can; else decoded weights
    // The most that the kernels may differ from the same weights decoded: the mean KL of the
    // logits in nats, where activations stay FP32; and the relative error of any linear.
    double max_gap = 1e-9, max_linear_gap = 1e-5;
  } path;

  ThroughputSpec throughput;

  bool sample_when_offline = false;

  // The whole as JSON text, every default written out, in a fixed order: what the record holds and
  // the hash is of.
  std::string Resolved() const;
  // The same without what no score depends on: its name, what is timed, how texts are found.
  std::string ResolvedForScores() const;
};

// The same of what RunConfig::Resolved gave, as records have it.
std::string ForScores(const std::string& resolved);

}  // namespace quantref
