#include "eval/testing/same_records.h"

#include <catch2/catch.hpp>

#include "harness/io/file.h"

namespace quantref::testing {

std::map<std::string, std::string> RecordTexts(const RunEvalLab& lab) {
  std::map<std::string, std::string> texts;
  for (const std::string& name : lab.RecordFiles()) {
    if (!name.ends_with(".json") || name.starts_with('.')) continue;
    RecordJson record = RecordJson::parse(ReadFile(lab.records() / name, size_t{1} << 24));
    for (const char* other : {"id", "run", "created", "environment", "seconds", "peak_rss_bytes"})
      record.erase(other);
    if (record.contains("layers")) {
      for (RecordJson& layer : record["layers"]) layer.erase("seconds");
    }
    std::string key =
        record["config"]["name"].get<std::string>() + " " + record["method"].get<std::string>();
    if (record.contains("calibration")) key += " " + record["calibration"]["seed"].dump();
    INFO("record of " << key);
    CHECK(texts.emplace(key, record.dump(1)).second);
  }
  return texts;
}

}  // namespace quantref::testing
