#include "eval/config/run_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/text/protocol.h"
#include "quantizers/registry.h"

namespace quantref {

Protocol RunConfig::Accuracy::ChosenProtocol() const {
  const Protocol named = FindProtocol(protocol);
  return window == 0 ? named : WithWindow(named, window);
}

bool RunConfig::Trains() const {
  return std::any_of(cells.begin(), cells.end(),
                     [](const CellConfig& cell) { return cell.training != Training::kNone; });
}

std::string CellConfig::MethodName() const {
  if (training == Training::kFull) return kFullMethod;
  std::string name;
  for (const std::string& transform : transforms) name += transform + "+";
  const std::string_view suffix = SuffixOf(training);
  return name + rounder + (suffix.empty() ? "" : fmt::format("+{}", suffix));
}

std::string_view SuffixOf(Training training) {
  return training == Training::kQat ? kQatMethod : training == Training::kLora ? kLoraMethod : "";
}

TrainSpec CellConfig::TrainedBy(const FinetuneSpec& finetune) const {
  TrainSpec spec = finetune.train;
  if (training == Training::kFull) spec.loss = TrainingLoss::kCrossEntropy;
  if (training != Training::kQat) spec.scales = TrainedScales::kRecomputed;
  if (training == Training::kLora) spec.lora = lora;
  spec.seed = finetune.seed;
  return spec;
}

Method CellConfig::MakeMethod() const {
  Method method;
  for (const std::string& name : transforms) {
    if (const ModelTransform* of_model = FindModelTransform(name)) {
      method.model_transforms.push_back(of_model);
    } else {
      method.transforms.push_back(FindTransform(name));
    }
  }
  method.rounder = FindRounder(rounder);
  for (const SchemeOverride& entry : quantize.overrides) {
    if (!entry.method.empty()) method.other_rounders.push_back(FindRounder(entry.method));
  }
  method.knobs = knobs;
  method.activations = activations;
  return method;
}

}  // namespace quantref
