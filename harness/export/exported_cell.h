#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/model/config.h"
#include "harness/model/weights.h"
#include "harness/quant/activation.h"
#include "harness/quant/plan.h"

namespace quantref {

// What is known of a cell before it is quantized: enough to tell which formats can hold it.
struct CellToExport {
  const std::filesystem::path& model;  // the folder or GGUF file that it is made of
  const ModelConfig& original;         // of that
  const ModelConfig& config;           // as the method leaves it
  const std::vector<PlannedLinear>& plan;
  std::optional<ActivationScheme> activations{};
  bool rounds_cache = false;  // of keys and values
  bool folds = false;         // scales, into norms or other matrices
  bool adapters = false;      // are kept beside its matrices (Linear::adapter)
  // Whether the method may put the columns of a matrix into an order of its own
  // (PackedMatrix::order); nothing: it does not.
  std::function<bool(const PlannedLinear& linear)> reorders{};
  // Which settings are without those, by the names of who asks; "": none that is known.
  struct Remedies {
    std::string_view adapters{}, rotations{};
    std::function<std::string_view(const PlannedLinear& linear)> reorders{};
  } remedies{};

  bool Reorders(const PlannedLinear& linear) const { return reorders && reorders(linear); }
};

// Where an exported model comes from; it says so in quantref.json and, for who reads it back, under
// "quantref" in config.json.
struct ExportOrigin {
  std::string config, cell, model;  // names
  std::string weights_sha256;       // HashQuantized
};

// A cell that is quantized. What it refers to must outlive it.
struct FinishedCell {
  const std::filesystem::path& model;
  const ModelConfig& config;  // as the method left it
  const ModelWeights& weights;
  ExportOrigin origin;
};

}  // namespace quantref
