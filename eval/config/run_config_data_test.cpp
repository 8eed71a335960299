// What a config says of activations, caches, outliers and calibration.

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/testing/read_config.h"
#include "eval/text/calibration_spec.h"
#include "harness/quant/format.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::CheckBadLines;
using testing::ReadConfigLine;
using Sizes = std::vector<size_t>;

std::optional<ActivationScheme> ReadActivations(const std::string& text) {
  return ReadConfigLine("quantize: {activations: " + text + "}").general.activations;
}

TEST_CASE("config: activations are none or a map") {
  CHECK_FALSE(ReadConfigLine("quantize: {}").general.activations);
  CHECK_FALSE(ReadActivations("none"));
  CHECK(ReadActivations("{}") == ActivationScheme{});
  CHECK(ReadActivations("{bits: 2}") == ActivationScheme{.bits = 2});
  CHECK(ReadActivations("{granularity: tensor}") == ActivationScheme{.per_token = false});
  const ActivationScheme fixed{.bits = 8, .per_token = false, .dynamic = false};
  CHECK(ReadActivations("{dynamic: false}") == fixed);  // a token's scale cannot be static
  CHECK(ReadActivations("{dynamic: false, granularity: tensor}") == fixed);
}

TEST_CASE("config: activations in groups and in other formats") {
  const NumberFormat* const fp8 = FindFormat("fp8_e4m3");
  const NumberFormat* const mxfp4 = FindFormat("mxfp4");
  CHECK(ReadActivations("{bits: 4, group: 64}") == ActivationScheme{.bits = 4, .group = 64});
  CHECK(ReadActivations("{granularity: group}") == ActivationScheme{.group = 128});
  CHECK(ReadActivations("{format: fp8_e4m3}") == ActivationScheme{.format = fp8});
  CHECK(ReadActivations("{format: fp8_e4m3, group: 128}") ==
        ActivationScheme{.group = 128, .format = fp8});
  CHECK(ReadActivations("{format: mxfp4}") ==
        ActivationScheme{.bits = 4, .group = 32, .format = mxfp4});
  CHECK(ReadActivations("{format: nvfp4}")->group == 16);
  const RunConfig config = ReadConfigLine(
      "quantize: {activations: {format: mxfp4}, methods: [{method: rtn, label: a, activations: "
      "{format: int, bits: 4}}, {method: rtn, label: b, activations: {format: fp8_e4m3}}]}");
  CHECK(config.cells[0].activations == ActivationScheme{.bits = 4});
  CHECK(config.cells[1].activations == ActivationScheme{.format = fp8});
  CheckBadLines({
      {"quantize: {activations: {format: nf4}}", {"activations.format: unknown value 'nf4'"}},
      {"quantize: {activations: {format: mxfp4, group: 64}}",
       {"activations.group: expected groups of 32, for which mxfp4 is defined", "'64'"}},
      {"quantize: {activations: {format: nvfp4, granularity: token}}",
       {"activations.granularity: expected groups of 16"}},
      {"quantize: {activations: {format: fp8_e4m3, bits: 4}}", {"activations.bits"}},
      {"quantize: {activations: {format: fp8_e4m3, granularity: tensor}}",
       {"activations.format: expected int, as scales are not those of single tokens"}},
      {"quantize: {activations: {format: nvfp4, dynamic: false}}",
       {"activations.format: expected int, as scales are not those of single tokens"}},
      {"quantize: {activations: {group: 0}}", {"activations.group"}},
      {"quantize: {activations: {group: 7}}", {"activations.group", "from 8 to"}},
      {"quantize: {activations: {group: 64, granularity: token}}",
       {"activations.group: expected no group size beside granularity: token"}},
      {"quantize: {activations: {group: 64, dynamic: false}}", {"as dynamic is false"}},
      {"quantize: {activations: {group: 64, outlier_threshold: 6}}",
       {"outlier_threshold: expected none, as tokens have no integers under one scale"}},
      {"quantize: {activations: {format: fp8_e4m3, outlier_threshold: 6}}", {"expected none"}},
  });
}

TEST_CASE("config: outlier channels of activations") {
  using Weights = OutlierRule::Weights;
  const auto rule = [](const std::string& text) { return ReadActivations(text)->outliers; };
  CHECK_FALSE(rule("{bits: 8}"));
  CHECK_FALSE(rule("{outlier_threshold: none}"));
  CHECK(rule("{outlier_threshold: 6.0}") == OutlierRule{6, Weights::kFp16});
  CHECK(rule("{outlier_threshold: 4.5, outlier_weights: int8}") ==
        OutlierRule{4.5, Weights::kInt8});
  const RunConfig config = ReadConfigLine(
      "quantize: {activations: {outlier_threshold: 5}, methods: [{method: rtn, label: a, "
      "activations: {outlier_weights: int8}}, {method: rtn, label: b, activations: "
      "{outlier_threshold: none}}]}");
  CHECK(config.cells[0].activations->outliers == OutlierRule{5, Weights::kInt8});
  CHECK_FALSE(config.cells[1].activations->outliers);
  CheckBadLines({
      {"quantize: {activations: {outlier_threshold: 0}}",
       {"activations.outlier_threshold: expected 'none' or a number above 0, at most 1000000",
        "found '0'"}},
      {"quantize: {activations: {outlier_threshold: 1e7}}", {"at most 1000000"}},
      {"quantize: {activations: {outlier_threshold: six}}", {"outlier_threshold", "'six'"}},
      {"quantize: {activations: {outlier_threshold: [6]}}", {"outlier_threshold: expected"}},
      {"quantize: {activations: {outlier_weights: fp16}}",
       {"outlier_weights: expected an outlier_threshold beside it"}},
      {"quantize: {activations: {outlier_threshold: 6, outlier_weights: fp32}}",
       {"outlier_weights: unknown value 'fp32'"}},
      {"quantize: {activations: {outlier_threshold: 6, granularity: tensor}}",
       {"outlier_threshold: expected none", "granularity: token"}},
      {"quantize: {activations: {outlier_threshold: 6, dynamic: false}}", {"expected none"}},
  });
}

std::optional<KvScheme> ReadCache(const std::string& text) {
  return ReadConfigLine("quantize: {kv_cache: " + text + "}").general.kv_cache;
}

TEST_CASE("config: a rounded cache is none or a map") {
  CHECK_FALSE(ReadConfigLine("quantize: {}").general.kv_cache);
  CHECK_FALSE(ReadCache("none"));
  CHECK(ReadCache("{}") == KvScheme{});
  CHECK(ReadCache("{bits: 2, group: 32, residual: 128}") ==
        KvScheme{.bits = 2, .group = 32, .residual = 128});
  CHECK(ReadCache("{keys: token, values: head, group: row, symmetric: true, residual: 5}") ==
        KvScheme{.keys = KvReach::kToken,
                 .values = KvReach::kHead,
                 .group = 0,
                 .symmetric = true,
                 .residual = 5});
  CheckBadLines({
      {"quantize: {kv_cache: 4}", {"quantize.kv_cache: unknown value '4'", "none"}},
      {"quantize: {kv_cache: {bits: 1}}", {"kv_cache.bits", "from 2 to 8, found '1'"}},
      {"quantize: {kv_cache: {values: channel}}", {"kv_cache.values: unknown value 'channel'"}},
      {"quantize: {kv_cache: {group: 24}}",
       {"quantize.kv_cache.group: expected a multiple of 16, found '24'"}},
      {"quantize: {kv_cache: {group: row}}", {"expected a number of tokens, as keys is channel"}},
      {"quantize: {kv_cache: {residual: 100}}",
       {"kv_cache.residual: expected a multiple of group"}},
      {"quantize: {kv_cache: {keys: head, values: head, group: 32}}", {"expected no group"}},
      {"quantize: {kv_cache: {resid: 32}}", {"did you mean 'residual'?"}},
  });
}

TEST_CASE("config: a cell's cache is the section's where it says nothing else") {
  const RunConfig config = ReadConfigLine(
      "quantize: {weights: none, kv_cache: {group: 32}, methods: [rtn, "
      "{method: rtn, label: two, kv_cache: {bits: 2}}, {method: rtn, label: no, kv_cache: none}, "
      "{method: gptq, label: both, weights: {bits: 3}}]}");
  CHECK(config.cells[0].kv_cache == KvScheme{.group = 32});
  CHECK(config.cells[0].quantize.none);
  CHECK(config.cells[1].kv_cache == KvScheme{.bits = 2, .group = 32});
  CHECK_FALSE(config.cells[2].kv_cache);
  CHECK_FALSE(config.cells[3].quantize.none);
  CHECK(config.cells[3].quantize.weights.bits == 3);
  CheckBadLines({
      {"quantize: {weights: nothing}", {"quantize.weights: unknown value 'nothing'", "none"}},
      {"quantize: {weights: none, methods: [gptq]}", {"'gptq' beside weights: none"}},
      {"quantize: {weights: none, methods: [awq+rtn]}", {"'awq+rtn' beside weights: none"}},
      {"quantize: {weights: none, activations: {bits: 8}}", {"activations: expected none"}},
      {"quantize: {weights: none, overrides: [{match: a, bits: 3}]}", {"expected no overrides"}},
  });
}

TEST_CASE("config: activations that make no sense") {
  CheckBadLines({
      {"quantize: {activations: 8}", {"quantize.activations: unknown value '8'", "none"}},
      {"quantize: {activations: [none]}", {"quantize.activations: expected one of none"}},
      {"quantize: {activations: {bits: 1}}", {"activations.bits", "from 2 to 8, found '1'"}},
      {"quantize: {activations: {bits: 9}}", {"activations.bits", "from 2 to 8, found '9'"}},
      {"quantize: {activations: {bits: none}}", {"activations.bits", "found 'none'"}},
      {"quantize: {activations: {granularity: row}}",
       {"activations.granularity: unknown value 'row'", "token", "tensor"}},
      {"quantize: {activations: {granularity: tokens}}", {"(did you mean 'token'?)"}},
      {"quantize: {activations: {dynamic: 0}}", {"activations.dynamic: expected true or false"}},
      {"quantize: {activations: {dynamic: false, granularity: token}}",
       {"quantize.activations.granularity: expected tensor, as dynamic is false, found 'token'"}},
      {"quantize: {activations: {static: true}}", {"activations.static: unknown key"}},
  });
}

TEST_CASE("config: outliers are none or a map") {
  CHECK_FALSE(ReadConfigLine("model: {name: a}").model.outliers);
  CHECK_FALSE(ReadConfigLine("model: {outliers: none}").model.outliers);
  CHECK(ReadConfigLine("model: {outliers: {}}").model.outliers == OutlierSpec{});
  CHECK(ReadConfigLine("model: {outliers: {channels: 1, scale: 10000, seed: 7}}").model.outliers ==
        OutlierSpec{.channels = 1, .scale = 1e4, .seed = 7});
  CHECK(ReadConfigLine("model: {outliers: {scale: 0.0001}}").model.outliers ==
        OutlierSpec{.scale = 1e-4});
}

TEST_CASE("config: outliers out of range") {
  CheckBadLines({
      {"model: {outliers: true}", {"model.outliers: unknown value 'true'", "none"}},
      {"model: {outliers: {channels: 0}}",
       {"model.outliers.channels: expected a number above 0, at most 1", "'0'"}},
      {"model: {outliers: {channels: -0.1}}",
       {"outliers.channels: expected a number above 0, at most 1"}},
      {"model: {outliers: {channels: 1.01}}",
       {"outliers.channels: expected a number above 0, at most 1", "at most 1"}},
      {"model: {outliers: {channels: nan}}", {"outliers.channels: expected a number"}},
      {"model: {outliers: {scale: 0}}",
       {"outliers.scale: expected a number from 0.0001 to 10000", "found '0'"}},
      {"model: {outliers: {scale: -5}}",
       {"outliers.scale: expected a number from 0.0001 to 10000"}},
      {"model: {outliers: {scale: 10001}}",
       {"outliers.scale: expected a number from 0.0001 to 10000", "10000"}},
      // Its inverse is beyond FP32.
      {"model: {outliers: {scale: 1e-39}}",
       {"outliers.scale: expected a number from 0.0001 to 10000", "'1e-39'"}},
      {"model: {outliers: {seed: -1}}", {"model.outliers.seed", "from 0 to", "found '-1'"}},
      {"model: {outliers: {channel: 0.1}}", {"outliers.channel:", "did you mean 'channels'?"}},
  });
}

TEST_CASE("config: calibration has one seed or several") {
  const auto seeds = [](const std::string& text) {
    return ReadConfigLine("calibration: {" + text + "}").calibration.seeds;
  };
  CHECK(seeds("") == Sizes{0});
  CHECK(seeds("seed: 5") == Sizes{5});
  CHECK(seeds("seeds: [5]") == Sizes{5});
  CHECK(seeds("seeds: 5") == Sizes{5});
  CHECK(seeds("seeds: [3, 0, 1]") == Sizes{3, 0, 1});
  CheckBadLines({
      {"calibration: {seed: 1, seeds: [1]}", {"calibration.seeds: expected either seed or seeds"}},
      {"calibration: {seeds: [1, 2, 1]}", {"calibration.seeds: expected a list of different"}},
      {"calibration: {seeds: []}", {"calibration.seeds: expected a list of at least one number"}},
      {"calibration: {seeds: [a]}", {"calibration.seeds: expected whole numbers"}},
      {"calibration: {seeds: [-1]}", {"calibration.seeds: expected whole numbers from 0"}},
      {"calibration: {seed: [1]}",
       {"calibration.seed: expected one seed, found a list", "seeds: [0, 1]"}},
  });
}

TEST_CASE("config: how calibration goes on, and whether it was asked for") {
  const CalibrationSpec plain = ReadConfigLine("model: a").calibration;
  CHECK_FALSE(plain.asked);
  CHECK(plain.sequential);
  CHECK_FALSE(plain.allow_overlap);
  const CalibrationSpec other =
      ReadConfigLine("calibration: {sequential: false, allow_overlap: true}").calibration;
  CHECK(other.asked);
  CHECK_FALSE(other.sequential);
  CHECK(other.allow_overlap);
  CHECK(ReadConfigLine("calibration: {}").calibration.asked);
  CheckBadLines({
      {"calibration: {sequential: 1}", {"calibration.sequential: expected true or false"}},
      {"calibration: {allow_overlap: x}", {"calibration.allow_overlap: expected true or false"}},
      {"calibration: {overlap: true}", {"calibration.overlap: unknown key"}},
  });
}

}  // namespace
}  // namespace quantref
