#include "eval/testing/table_lab.h"

#include <fmt/format.h>

#include <cmath>

#include "eval/record/reference.h"
#include "eval/stats/stats.h"
#include "eval/testing/sample_record.h"

namespace quantref::testing {
namespace {

using Json = nlohmann::json;

std::vector<BlockSum> Blocks(const Json& sums, const Json& scored) {
  std::vector<BlockSum> blocks;
  for (size_t w = 0; w < sums.size(); ++w)
    blocks.push_back({sums[w].get<double>(), scored[w].get<double>()});
  return blocks;
}

Json Pair(double low, double high) { return Json::array({low, high}); }

void PutAggregates(Json& record) {
  Json& accuracy = record["accuracy"];
  const Json& scored = record["protocol"]["window_scored"];
  const Interval nll = *MeanInterval(Blocks(accuracy["window_nll"], scored));
  accuracy["mean_nll"] = nll.mean;
  accuracy["ppl"] = std::exp(nll.mean);
  accuracy["ppl_ci95"] = Pair(std::exp(nll.low), std::exp(nll.high));
  if (IsReferenceName(record["method"].get<std::string>())) return;
  Json change = Json::array(), same = Json::array();
  for (size_t w = 0; w < scored.size(); ++w) {
    change.push_back(accuracy["window_nll"][w].get<double>() -
                     accuracy["reference_window_nll"][w].get<double>());
    same.push_back(80 + w % 3);
  }
  const Interval delta = *MeanInterval(Blocks(change, scored));
  accuracy["delta_nll"] = delta.mean;
  accuracy["delta_nll_ci95"] = Pair(delta.low, delta.high);
  accuracy["ppl_ratio"] = std::exp(delta.mean);
  accuracy["ppl_ratio_ci95"] = Pair(std::exp(delta.low), std::exp(delta.high));
  const Interval top = *MeanInterval(Blocks(same, scored));
  accuracy["top1_agreement"] = top.mean;
  accuracy["top1_ci95"] = Pair(top.low, top.high);
  accuracy["window_kl"] = change;
  accuracy["kl_mean"] = delta.mean;
  accuracy["kl_ci95"] = Pair(delta.low, delta.high);
  accuracy["window_same_top"] = same;
}

Json Rates(double rate, size_t tokens) {
  Json samples = Json::array();
  for (int i = 0; i < 5; ++i) samples.push_back(rate * (1 + 0.001 * i));
  return Json::array({{{"tokens", tokens},
                       {"threads", 2},
                       {"median", rate * 1.002},
                       {"low", rate * 1.001},
                       {"high", rate * 1.003},
                       {"samples", samples}}});
}

}  // namespace

Json TableSample(const std::string& method, double nats, double noise, const std::string& config) {
  Json record = SampleRecord(config, method);
  // Neither too even for an interval nor alike in all methods.
  if (!IsReferenceName(method)) {
    record["accuracy"]["window_nll"] = record["accuracy"]["reference_window_nll"];
    record["scheme"] = {{"name", "int4 g128 asym"}, {"bits", 4}, {"group", 128}};
    record["activations"] = "none";
    Json& calibration = record["calibration"];
    calibration["dataset"] = "wikitext-2";
    calibration["split"] = "validation";
    calibration["samples"] = 128;
    calibration["length"] = 2048;
  }
  ShiftNll(record, nats, noise);
  record["effective_bits"] = IsReferenceName(method) ? 16.0 : 4.15625;
  record["dataset"]["split"] = "test";
  PutAggregates(record);
  return record;
}

void AddSpeed(Json& record, double rate, int run) {
  Json& throughput = record["throughput"];
  throughput["kernels"] = Json::array();
  throughput["prefill_tokens_s"] = Rates(10 * rate, 64);
  throughput["decode_tokens_s"] = Rates(rate, 8);
  throughput["roofline"] = Json::array({{{"threads", 2},
                                         {"read_gbps_memory", 20.0 + run},
                                         {"read_gbps_cache", 100.0},
                                         {"fp32_gflops", 300.0},
                                         {"int8_gops", 600.0}}});
  throughput["free_cores"] = {{"before", 2.0}, {"after", 2.0}};
}

std::string TableLab::Add(Json record) {
  const std::string id = fmt::format("{:016x}", 0xfeed0000 + added_);
  record["id"] = id;
  record["created"] = fmt::format("2026-01-31T12:{:02}:{:02}Z", added_ / 60, added_ % 60);
  WriteFile(dir_ / fmt::format("records/{}.json", id), record.dump());
  ++added_;
  return id;
}

std::filesystem::path TableLab::Spec(const std::string& yaml) const {
  WriteFile(dir_ / "table.yaml", yaml);
  return dir_ / "table.yaml";
}

const Table& TableLab::Make(const std::string& yaml) {
  table_.reset();
  spec_ = ReadTableSpec(Spec("title: A table\nrecords: [records]\n" + yaml));
  records_ = ReadTableRecords(*spec_, 2);
  table_ = MakeTable(*spec_, *records_, 2);
  return *table_;
}

}  // namespace quantref::testing
