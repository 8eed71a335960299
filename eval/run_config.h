#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/measure.h"
#include "harness/model/weights.h"
#include "harness/quant/plan.h"

namespace quantref {

// One config file, checked, with every default filled in. configs/README.md documents the keys.
struct RunConfig {
  std::string file;  // where it was read from

  std::string name;                  // of the experiment: letters, digits, '.', '_', '-'
  std::string model = "wikilm-28m";  // a bundled name, or a folder
  WeightType weight_type = WeightType::kNative;

  std::vector<std::string> methods;  // besides fp16, which is always there
  QuantizeSpec quantize;

  struct Calibration {
    std::string dataset = "wikitext-2", split = "validation";
    size_t samples = 128, length = 2048, seed = 0;
  } calibration;

  struct Accuracy {
    std::string dataset = "wikitext-2", split = "test", protocol = "gptq-2048";
    std::vector<std::string> metrics = {"ppl", "kl", "top1"};
    std::optional<StopRule> stop;
    // KL and top-1 agreement; without them only NLLs are compared.
    bool Compares() const { return metrics.size() > 1; }
    bool operator==(const Accuracy&) const = default;
  } accuracy;

  bool sample_when_offline = false;

  // The whole as JSON text, every default written out, in a fixed order: what the record holds and
  // the hash is of.
  std::string Resolved() const;
};

// Reads a config; `assignments` are the command line's --set key=value, in their order. Throws
// Error for anything that is not understood: unknown keys and names (with the nearest), wrong
// types, values out of range.
RunConfig ReadRunConfig(const std::string& file, const std::vector<std::string>& assignments);

}  // namespace quantref
