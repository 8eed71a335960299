#pragma once

#include <string>
#include <vector>

#include "eval/config/key_visitor.h"
#include "eval/config/run_config.h"

namespace quantref {

// The sections of a config, key by key: a new key is a row here and a member of the struct. What a
// section asks of several keys together is read_config.cpp's. `quantize`: quantize_keys.h.
void VisitModel(KeyVisitor& visitor, RunConfig::ModelChoice& model);      // a checkpoint
void VisitSynthetic(KeyVisitor& visitor, RunConfig::ModelChoice& model);  // random weights
void VisitCalibration(KeyVisitor& visitor, CalibrationSpec& calibration);
void VisitFinetune(KeyVisitor& visitor, FinetuneSpec& finetune);
void VisitAccuracy(KeyVisitor& visitor, RunConfig::Accuracy& accuracy, RunConfig::Path& path);
void VisitThroughput(KeyVisitor& visitor, ThroughputSpec& throughput);
// `kv_cache` of the `quantize` section: a map, or none.
void VisitKvCache(KeyVisitor& visitor, std::optional<KvScheme>& scheme);
void VisitLora(KeyVisitor& visitor, LoraSpec& lora);                // of the `quantize` section
void VisitOffline(KeyVisitor& visitor, bool& sample_when_offline);  // of the whole config

struct MetricInfo {
  std::string name, about;
  bool Metrics::*asked;  // nullptr: of what is always measured
};
const std::vector<MetricInfo>& KnownMetrics();  // of accuracy.metrics

}  // namespace quantref
