#include "eval/testing/sample_record.h"

#include "eval/record/reference.h"
#include "eval/record/schema.h"
#include "harness/testing/testing.h"

namespace quantref::testing {

using Json = nlohmann::json;

Json SampleRecord(const std::string& config, const std::string& method) {
  Json record = {{"schema", kRecordSchema},
                 {"id", "0123456789abcdef"},
                 {"created", "2026-01-31T12:34:56Z"},
                 {"method", method}};
  record["tool"] = {{"version", "0.1.0"}, {"git_commit", std::string(40, 'a')}, {"dirty", false}};
  record["config"] = {
      {"name", config},
      {"sha256", std::string(64, '1')},
      {"resolved", {{"name", config}, {"quantize", {{"weights", {{"bits", 4}, {"group", 16}}}}}}}};
  record["model"] = {{"name", "wikilm"},
                     {"sha256", std::string(64, '2')},
                     {"tokenizer_sha256", std::string(64, '3')},
                     {"dtype", "native"}};
  record["dataset"] = {{"name", "wikitext-2"}, {"sha256", std::string(64, '4')}};
  record["calibration"] = {
      {"seed", 0}, {"token_sha256", std::string(64, '5')}, {"used_by", "method"}};
  record["hashes"] = {{"packed_weights", std::string(64, '6')},
                      {"first_window_logits", std::string(64, '7')}};
  record["environment"] = {{"cpu", "a CPU"},         {"isa", "avx2"},      {"compiler", "g++ 12"},
                           {"flags", "-O2"},         {"blas", "OpenBLAS"}, {"blas_core", "Haswell"},
                           {"os", "Debian, Linux 6"}};
  constexpr size_t kWindows = 16, kScored = 100;
  Json scored = Json::array(), nll = Json::array(), reference = Json::array();
  for (size_t w = 0; w < kWindows; ++w) {
    scored.push_back(kScored);
    reference.push_back(300.0 + static_cast<double>(w * w % 7));
    nll.push_back(IsReferenceName(method) ? reference[w].get<double>()
                                          : reference[w].get<double>() + 5);
  }
  record["protocol"] = {{"name", "gptq-2048"},
                        {"windows", kWindows},
                        {"token_sha256", std::string(64, '8')},
                        {"window_scored", scored}};
  record["accuracy"]["window_nll"] = nll;
  if (IsReferenceName(method)) {
    record["hashes"].erase("packed_weights");
    record.erase("calibration");
  } else {
    record["accuracy"]["reference_window_nll"] = reference;
  }
  return record;
}

void ShiftNll(Json& record, double nats, double noise) {
  double sign = 1;
  for (size_t w = 0; w < record["accuracy"]["window_nll"].size(); ++w) {
    const double scored = record["protocol"]["window_scored"][w];
    Json& nll = record["accuracy"]["window_nll"][w];
    nll = nll.get<double>() + scored * (nats + sign * noise);
    sign = -sign;
  }
}

StoredRecord Stored(const Json& record) {
  const TempDir dir;
  WriteFile(dir / "record.json", record.dump());
  return ReadRecord(dir / "record.json");
}

}  // namespace quantref::testing
