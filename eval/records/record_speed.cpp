#include <nlohmann/json.hpp>

#include "eval/records/record_parts.h"
#include "harness/kernels/probes.h"

namespace quantref {
namespace {

constexpr double kNanoseconds = 1e9;

RecordJson InNanoseconds(const Samples& samples) {
  RecordJson json = RecordJson::array();
  for (const double seconds : samples.seconds) json.push_back(kNanoseconds * seconds);
  return json;
}

const Roofline* RooflineOf(const Throughput& run, size_t threads) {
  for (const Roofline& roofline : run.rooflines) {
    if (roofline.threads == threads) return &roofline;
  }
  return nullptr;
}

// How much of what the machine gave in these minutes the product took.
void PutShares(RecordJson& json, const KernelTiming& timing, const Roofline& roofline) {
  const bool from_memory = timing.streamed || timing.bytes > LargestCacheBytes();
  const double read = from_memory ? roofline.read_gbps_memory : roofline.read_gbps_cache;
  if (read > 0) json["share_of_read"] = json["gbps"].get<double>() / read;
  const bool floats = timing.key.dense.has_value();
  const double peak = floats ? roofline.fp32_gflops : roofline.int8_gops;
  if (peak <= 0) return;
  json[floats ? "share_of_fp32_peak" : "share_of_int8_peak"] = json["gops"].get<double>() / peak;
}

RecordJson KernelJson(const KernelTiming& timing, const std::string& isa,
                      const Roofline* roofline) {
  const double seconds = timing.samples.Median();
  const double products = static_cast<double>(timing.rows) * static_cast<double>(timing.cols) *
                          static_cast<double>(timing.tokens);
  RecordJson json = {{"op", OpName(timing.key)}, {"rows", timing.rows},       {"cols", timing.cols},
                     {"tokens", timing.tokens},  {"threads", timing.threads}, {"isa", isa}};
  if (timing.codes) json["way"] = *timing.codes ? "codes" : "panels";
  json.update({{"streamed", timing.streamed},
               {"bytes", timing.bytes},
               {"ns", kNanoseconds * seconds},
               {"gbps", 1e-9 * static_cast<double>(timing.bytes) / seconds},
               {"gops", 2e-9 * products / seconds}});
  const bool fp16 = !timing.fp16.seconds.empty(), openblas = !timing.openblas.seconds.empty();
  if (fp16) json["vs_fp16"] = timing.fp16.Median() / seconds;
  if (openblas) json["vs_openblas"] = timing.openblas.Median() / seconds;
  if (roofline != nullptr) PutShares(json, timing, *roofline);
  json["repeats"] = timing.samples.repeats;
  json["samples"] = InNanoseconds(timing.samples);
  if (fp16) json["fp16_samples"] = InNanoseconds(timing.fp16);
  if (openblas) json["openblas_samples"] = InNanoseconds(timing.openblas);
  return json;
}

RecordJson RatesJson(const std::vector<ModelTiming>& timings,
                     const std::vector<ModelTiming>* of_fp16) {
  RecordJson json = RecordJson::array();
  for (const ModelTiming& timing : timings) {
    const Samples rates = TokenRates(timing);
    RecordJson entry = {{"tokens", timing.tokens},
                        {"threads", timing.threads},
                        {"median", rates.Median()},
                        {"low", rates.Low()},
                        {"high", rates.High()}};
    entry["samples"] = rates.seconds;
    const ModelTiming* same = of_fp16 == nullptr ? nullptr : SameTiming(*of_fp16, timing);
    if (same != nullptr) {
      const Samples fp16 = TokenRates(*same);
      entry["vs_fp16"] = rates.Median() / fp16.Median();
      entry["fp16_samples"] = fp16.seconds;
    }
    json.push_back(std::move(entry));
  }
  return json;
}

}  // namespace

void PutSpeed(RecordJson& record, const CellSpeed& speed, const Environment& environment) {
  const CellThroughput& own = speed.own();
  const CellThroughput* fp16 = speed.fp16_weights();
  RecordJson& json = record["throughput"];
  for (const KernelTiming& timing : own.kernels)
    json["kernels"].push_back(
        KernelJson(timing, environment.isa, RooflineOf(*speed.run, timing.threads)));
  if (!own.prefill.empty())
    json["prefill_tokens_s"] = RatesJson(own.prefill, fp16 == nullptr ? nullptr : &fp16->prefill);
  if (!own.decode.empty())
    json["decode_tokens_s"] = RatesJson(own.decode, fp16 == nullptr ? nullptr : &fp16->decode);
  if (speed.fp16_is_copy()) json["fp16_copy"] = true;
  if (!own.decoded_each_call.empty()) json["decoded_each_call"] = own.decoded_each_call;
  for (const Roofline& roofline : speed.run->rooflines) {
    json["roofline"].push_back({{"threads", roofline.threads},
                                {"read_gbps_memory", roofline.read_gbps_memory},
                                {"read_gbps_cache", roofline.read_gbps_cache},
                                {"fp32_gflops", roofline.fp32_gflops},
                                {"int8_gops", roofline.int8_gops}});
  }
  json["free_cores"] = {{"before", speed.run->cores.before}, {"after", speed.run->cores.after}};
  if (Busy(speed)) json["busy"] = true;
}

}  // namespace quantref
