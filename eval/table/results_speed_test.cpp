// What people see of speed beside results, from made-up rates.

#include "eval/table/results_speed.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::Contains;
using testing::MissingPart;
using testing::TableSample;
using Strings = std::vector<std::string>;

Json Point(size_t tokens, size_t threads, double rate) {
  return {{"tokens", tokens},
          {"threads", threads},
          {"samples", {rate / 2, rate, 2 * rate}}};  // the median is `rate`
}

// So many times as fast as FP16 weights, which gave 256 and 64 tokens a second on one thread.
Json Throughput(double ratio, bool with_ratio) {
  Json throughput = {{"free_cores", {{"before", 2.0}, {"after", 2.0}}}};
  for (const size_t threads : {size_t{1}, size_t{2}}) {
    const auto scale = static_cast<double>(threads);
    for (const auto& [path, tokens, rate] :
         {std::tuple("prefill_tokens_s", size_t{512}, 256 * scale),
          std::tuple("decode_tokens_s", size_t{64}, 64 * scale)}) {
      Json point = Point(tokens, threads, ratio * rate);
      if (with_ratio)
        point.update(
            {{"vs_fp16", ratio}, {"fp16_samples", Point(tokens, threads, rate)["samples"]}});
      throughput[path].push_back(std::move(point));
    }
  }
  return throughput;
}

Json Cell(const std::string& method, double ratio, bool with_ratio) {
  Json record = TableSample(method, method == "fp16" ? 0 : 0.05, 0.01);
  record["throughput"] = Throughput(ratio, with_ratio);
  return record;
}

// The reference and a cell twice as fast, on 1 and on 2 threads.
std::vector<Json> Cells() { return {Cell("fp16", 1, false), Cell("rtn", 2, true)}; }

Results ReadSpeeds(const std::vector<Json>& records) {
  Results results;
  for (const Json& record : records) results.push_back(ParseResult(record.dump(), "a record"));
  return results;
}

TEST_CASE("results: the speeds are tokens a second and the ratio to fp16") {
  const Results results = ReadSpeeds(Cells());
  const SpeedColumns columns = MakeSpeedColumns(results);
  CHECK(columns.header == Strings{"prefill tok/s", "decode tok/s"});
  CHECK(columns.rows[0] == Strings{"256", "64.0"});
  CHECK(columns.rows[1] == Strings{"512 2.00x", "128 2.00x"});
  CHECK(SpeedHeadline(results) ==
        "speed: avx2, 1 and 2 threads, 2.00 of 2 cores free before and 2.00 after\n");
  CHECK(SpeedLegend(results) ==
        "2 threads, fp16: prefill 512, decode 128\n"
        "2 threads, rtn: prefill 1,024 2.00x, decode 256 2.00x\n"
        "tok/s: median tokens a second, 1 thread, prefill of 512, decode of 64; x: times fp16\n");
}

// The same cells over a reference of another type, whose shapes were timed in FP16 too.
TEST_CASE("results: over a reference that is not FP16 ratios are to FP16 weights of its shapes") {
  std::vector<Json> records = {Cell("fp32", 0.5, true), Cell("rtn", 1, true)};
  for (Json& record : records) record["throughput"]["fp16_copy"] = true;
  const Results results = ReadSpeeds(records);
  const SpeedColumns columns = MakeSpeedColumns(results);
  CHECK(columns.rows[0] == Strings{"128 0.50x", "32.0 0.50x"});
  CHECK(columns.rows[1] == Strings{"256 1.00x", "64.0 1.00x"});
  CHECK(MissingPart(SpeedLegend(results),
                    {"x: times FP16 weights of the same shapes (prefill 256, decode 64.0)"}) == "");
}

TEST_CASE("results: speeds of codes that are decoded for every product are marked") {
  std::vector<Json> records = Cells();
  for (Json& record : records) record["throughput"]["busy"] = true;
  records[1]["throughput"]["decoded_each_call"] = {"layers.0.mlp.up_proj"};
  const Results results = ReadSpeeds(records);
  CHECK(MakeSpeedColumns(results).rows[1][0] == "512 2.00x~");
  CHECK(MakeSpeedColumns(results).rows[0][0] == "256");
  const std::string legend = SpeedLegend(results);
  INFO(legend);
  CHECK(legend.find("\n~ decodes codes") < legend.find("\n* BUSY"));
  CHECK(Contains(legend, "\n* BUSY"));
}

TEST_CASE("results: speeds of a busy machine have a mark and a footnote") {
  const auto busy = [](double before, double after) {
    std::vector<Json> records = Cells();
    for (Json& record : records) {
      record["throughput"]["free_cores"] = {{"before", before}, {"after", after}};
      record["throughput"]["busy"] = true;
    }
    return ReadSpeeds(records);
  };
  CHECK(MakeSpeedColumns(busy(1.1, 1.1)).rows[1][0] == "512 2.00x");  // one thread needs one core
  CHECK(MissingPart(SpeedLegend(busy(1.1, 1.1)), {"decode 256 2.00x*", "* BUSY machine"}) == "");
  CHECK(MakeSpeedColumns(busy(1.1, 2)).rows[1][0] == "512 2.00x*");
}

TEST_CASE("results: nothing timed, nothing said; a cell that was not timed has a dash") {
  std::vector<Json> records = Cells();
  records[0].erase("throughput");
  CHECK(MakeSpeedColumns(ReadSpeeds(records)).rows[0] == Strings{"-", "-"});
  records[1].erase("throughput");
  const Results results = ReadSpeeds(records);
  CHECK(MakeSpeedColumns(results).header.empty());
  CHECK(SpeedHeadline(results).empty());
  CHECK(SpeedLegend(results).empty());
}

}  // namespace
}  // namespace quantref
