// What is recorded of speed, from made-up times.

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/facts/texts.h"
#include "eval/records/record_parts.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::MissingPart;

Samples Seconds(std::vector<double> seconds) {
  Samples samples;
  samples.seconds = std::move(seconds);
  return samples;
}

// The reference and a cell twice as fast, on 1 and on 2 threads.
CellSpeed MadeUp(size_t model, FreeCores cores = {2, 2}) {
  Throughput run;
  run.cores = cores;
  for (size_t cell = 0; cell < 2; ++cell) {
    CellThroughput made;
    for (const size_t threads : {size_t{1}, size_t{2}}) {
      const double unit = 1.0 / static_cast<double>(threads * (cell + 1));
      made.prefill.push_back({512, threads, Seconds({unit, 2 * unit, 4 * unit})});
      made.decode.push_back({64, threads, Seconds({unit, unit, unit})});
    }
    made.kernels.push_back(
        {.key = cell == 0 ? KernelKey{.dense = DenseRows::Type::kFp16} : KernelKey{},
         .rows = 100,
         .cols = 1000,
         .tokens = 8,
         .threads = 1,
         .streamed = cell == 1,
         .bytes = 50000,
         .samples = Seconds({2e-6, 1e-6, 4e-6}),
         .fp16 = cell == 0 ? Samples{} : Seconds({6e-6, 6e-6, 6e-6}),
         .openblas = Seconds({8e-6, 8e-6, 8e-6}),
         .codes = cell == 0 ? std::optional<bool>() : true});
    run.cells.push_back(made);
  }
  run.rooflines = {{1, 100, 250, 1600, 3200}, {2, 150, 500, 3200, 6400}};
  return {std::make_shared<const Throughput>(std::move(run)), model, 0};
}

std::vector<CellResult> Cells(FreeCores cores = {2, 2}) {
  static const RunConfig config{};
  static const CellConfig spec = [] {
    CellConfig cell;
    cell.label = "rtn";
    return cell;
  }();
  CellResult fp16{.config = &config, .spec = nullptr, .label = "fp16", .model = 0};
  CellResult rtn{.config = &config, .spec = &spec, .label = "rtn", .model = 1};
  fp16.speed = MadeUp(0, cores);
  rtn.speed = fp16.speed;
  rtn.speed->model = 1;
  return {fp16, rtn};
}

Environment On(const std::string& isa) {
  Environment environment;
  environment.isa = isa;
  return environment;
}

RecordJson Recorded(const CellSpeed& speed) {
  RecordJson record;
  PutSpeed(record, speed, On("avx2"));
  return record["throughput"];
}

TEST_CASE("speed: a record's aggregates follow from its samples") {
  const RecordJson json = Recorded(MadeUp(1));
  const RecordJson& kernel = json["kernels"][0];
  CHECK(kernel["isa"] == "avx2");
  CHECK(kernel["way"] == "codes");
  CHECK(kernel["samples"].size() == 3);
  CHECK(kernel["samples"][1].get<double>() == Approx(1000));
  CHECK(kernel["ns"].get<double>() == Approx(2000));
  CHECK(kernel["gbps"].get<double>() == Approx(25));
  CHECK(kernel["gops"].get<double>() == Approx(800));
  CHECK(kernel["vs_fp16"].get<double>() == Approx(3));
  CHECK(kernel["vs_openblas"].get<double>() == Approx(4));
  CHECK(kernel["share_of_read"].get<double>() == Approx(0.25));
  CHECK(kernel["share_of_int8_peak"].get<double>() == Approx(0.25));
  CHECK_FALSE(kernel.contains("share_of_fp32_peak"));
  const RecordJson& prefill = json["prefill_tokens_s"][1];
  CHECK(prefill["threads"] == 2);
  CHECK(prefill["median"].get<double>() == Approx(1024));
  CHECK(prefill["samples"][0].get<double>() == Approx(2048));
  CHECK(prefill["vs_fp16"].get<double>() == Approx(2));
  CHECK(prefill["fp16_samples"][0].get<double>() == Approx(1024));
  CHECK_FALSE(json.contains("fp16_copy"));
  CHECK_FALSE(json.contains("decoded_each_call"));
  CHECK(prefill["low"].get<double>() <= prefill["median"].get<double>());
  CHECK(prefill["high"].get<double>() >= prefill["median"].get<double>());
  CHECK(json["decode_tokens_s"][0]["median"].get<double>() == Approx(128));
  CHECK(json["roofline"].size() == 2);
  CHECK(json["free_cores"] == RecordJson{{"before", 2.0}, {"after", 2.0}});
  CHECK_FALSE(json.contains("busy"));
  CHECK(Recorded(MadeUp(1, {1.2, 1.2}))["busy"] == true);
}

TEST_CASE("speed: the reference is compared with nothing, its kernels with the FP32 peak") {
  const RecordJson json = Recorded(MadeUp(0));
  CHECK_FALSE(json["prefill_tokens_s"][0].contains("vs_fp16"));
  CHECK_FALSE(json["kernels"][0].contains("vs_fp16"));
  CHECK_FALSE(json["kernels"][0].contains("way"));
  CHECK_FALSE(json["kernels"][0].contains("fp16_samples"));
  CHECK(json["kernels"][0]["share_of_fp32_peak"].get<double>() == Approx(0.5));
  CHECK(json["kernels"][0]["share_of_read"].get<double>() == Approx(0.1));
}

TEST_CASE("speed: what was not measured is absent") {
  Throughput run;
  run.cells.resize(1);
  run.cells[0].decode.push_back({64, 1, Seconds({1})});
  run.cores = {2, 2};
  const RecordJson json = Recorded({std::make_shared<const Throughput>(run), 0, {}});
  for (const char* field : {"kernels", "prefill_tokens_s", "roofline", "busy"}) {
    INFO(field);
    CHECK_FALSE(json.contains(field));
  }
  CHECK_FALSE(json["decode_tokens_s"][0].contains("vs_fp16"));
}

// The same cells over a reference of another type, whose shapes were timed in FP16 too: that is as
// fast as the second cell.
std::vector<CellResult> CellsOverFp32() {
  std::vector<CellResult> cells = Cells();
  cells[0].label = "fp32";
  Throughput run = *cells[0].speed->run;
  run.cells.push_back(run.cells[1]);
  const auto shared = std::make_shared<const Throughput>(std::move(run));
  for (size_t model = 0; model < 2; ++model) cells[model].speed = CellSpeed{shared, model, 2};
  return cells;
}

TEST_CASE("speed: over a reference that is not FP16 ratios are to FP16 weights of its shapes") {
  const std::vector<CellResult> cells = CellsOverFp32();
  for (size_t model = 0; model < 2; ++model) {
    const RecordJson json = Recorded(*cells[model].speed);
    CHECK(json["fp16_copy"] == true);
    const RecordJson& decode = json["decode_tokens_s"][0];
    CHECK(decode["vs_fp16"].get<double>() == Approx(model == 0 ? 0.5 : 1));
    CHECK(decode["fp16_samples"][2].get<double>() == Approx(128));
  }
}

TEST_CASE("speed: matrices that are decoded for every product are named") {
  std::vector<CellResult> cells = Cells();
  Throughput run = *cells[1].speed->run;
  run.cells[1].decoded_each_call = {"layers.0.mlp.up_proj"};
  for (CellResult& cell : cells) cell.speed->run = std::make_shared<const Throughput>(run);
  CHECK(Recorded(*cells[1].speed)["decoded_each_call"] == RecordJson{"layers.0.mlp.up_proj"});
  CHECK_FALSE(Recorded(*cells[0].speed).contains("decoded_each_call"));
}

TEST_CASE("speed: the gate's message says which cell, what was expected and what was found") {
  CellResult cell = Cells()[1];
  cell.gap = PathGap{};
  cell.limits = {1e-9, 1e-5};
  CHECK_FALSE(cell.GapTooWide());
  cell.gap->kl_mean = 2e-3;
  CHECK(cell.GapTooWide());
  CHECK(MissingPart(GapMessage(cell),
                    {"GATE FAILED", "rtn", "at most 1e-09", "max_path_gap", "found 0.002"}) == "");
  CHECK(GapMessage(cell).find("max_linear_gap") == std::string::npos);
  cell.limits.kl_mean.reset();
  CHECK_FALSE(cell.GapTooWide());
  cell.gap->linear_error = 0.5;
  cell.gap->worst_linear = "layers.1.mlp.up_proj";
  CHECK(cell.GapTooWide());
  CHECK(MissingPart(GapMessage(cell),
                    {"layers.1.mlp.up_proj", "1e-05", "max_linear_gap", "found 0.5"}) == "");
}

}  // namespace
}  // namespace quantref
