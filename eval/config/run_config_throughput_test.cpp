// The keys of throughput, of the kernels' path and of synthetic models.

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/testing/read_config.h"

namespace quantref {
namespace {

using testing::CheckBadLines;
using testing::ReadConfigLine;
using testing::ReadConfigText;

TEST_CASE("config: throughput is measured unless it is asked not to be") {
  CHECK(ReadConfigText("name: x\n").throughput == ThroughputSpec{});
  CHECK(ReadConfigText("name: x\n").throughput.measure);
  CHECK(ReadConfigText("name: x\n").throughput.standard_shapes);
  CHECK(ReadConfigLine("throughput: true").throughput == ThroughputSpec{});
  CHECK(ReadConfigLine("throughput: {}").throughput == ThroughputSpec{});
  CHECK_FALSE(ReadConfigLine("throughput: none").throughput.measure);
  CHECK_FALSE(ReadConfigLine("throughput: false").throughput.measure);
  CHECK_FALSE(ReadConfigText("name: x\n", {"throughput=none"}).throughput.measure);
}

TEST_CASE("config: every key of throughput is read") {
  const ThroughputSpec spec =
      ReadConfigLine(
          "throughput: {kernels: false, standard_shapes: false, tokens: [1, 7], prefill: 9, "
          "decode: 0, repetitions: 2, threads: [2, 1]}")
          .throughput;
  CHECK(spec == ThroughputSpec{.measure = true,
                               .kernels = false,
                               .standard_shapes = false,
                               .tokens = {1, 7},
                               .prefill = 9,
                               .decode = 0,
                               .repetitions = 2,
                               .threads = {2, 1}});
  CHECK(ReadConfigLine("throughput: {threads: 2}").throughput.threads == std::vector<size_t>{2});
  CHECK(ReadConfigText("name: x\n", {"throughput.threads=[1, 2]", "throughput.decode=3"})
            .throughput.decode == 3);
}

TEST_CASE("config: wrong throughput is an error") {
  CheckBadLines({
      {"throughput: nine", {"throughput: unknown value 'nine'", "'none'"}},
      {"throughput: [1]", {"throughput: expected one of none", "found a list"}},
      {"throughput: {kernel: true}", {"throughput.kernel: unknown key", "'kernels'?"}},
      {"throughput: {kernels: 1}", {"throughput.kernels: expected true or false"}},
      {"throughput: {tokens: x}", {"throughput.tokens: expected whole numbers", "found 'x'"}},
      {"throughput: {tokens: []}", {"throughput.tokens: expected a list of at least one"}},
      {"throughput: {tokens: [0]}", {"throughput.tokens: expected whole numbers from 1"}},
      {"throughput: {tokens: [2, 2]}", {"throughput.tokens: expected a list of different"}},
      {"throughput: {prefill: -1}", {"throughput.prefill", "from 0 to", "found '-1'"}},
      {"throughput: {decode: x}", {"throughput.decode", "found 'x'"}},
      {"throughput: {repetitions: 0}", {"throughput.repetitions", "from 1 to", "found '0'"}},
      {"throughput: {threads: 0}", {"throughput.threads", "from 1 to", "found '0'"}},
      {"throughput: {threads: [1, 1]}", {"throughput.threads: expected a list of different"}},
      {"throughput: {threads: []}", {"throughput.threads: expected a list of at least one"}},
      {"throughput: {threads: {}}", {"throughput.threads: expected a list"}},
      {"throughput: {kernels: false, prefill: 0, decode: 0}", {"throughput: expected kernels"}},
  });
  CHECK_ERROR(ReadConfigText("name: x\n", {"throughput.reps=3"}), "--set throughput.reps");
}

TEST_CASE("config: the path and the bounds of its gate") {
  const RunConfig plain = ReadConfigText("name: x\n");
  CHECK(plain.path.kernels);
  CHECK(plain.path.max_gap == 1e-9);
  CHECK(plain.path.max_linear_gap == 1e-5);
  const RunConfig other =
      ReadConfigLine("accuracy: {path: simulated, max_path_gap: 0.5, max_linear_gap: 2e-3}");
  CHECK_FALSE(other.path.kernels);
  CHECK(other.path.max_gap == 0.5);
  CHECK(other.path.max_linear_gap == 2e-3);
  CHECK(ReadConfigLine("accuracy: {path: kernel}").path.kernels);
  CheckBadLines({
      {"accuracy: {path: kernels}", {"accuracy.path: unknown value", "'kernel'?"}},
      {"accuracy: {max_path_gap: 0}", {"accuracy.max_path_gap: expected a positive number"}},
      {"accuracy: {max_path_gap: inf}", {"accuracy.max_path_gap: expected a number"}},
      {"accuracy: {max_linear_gap: -1}", {"accuracy.max_linear_gap: expected a positive"}},
      {"accuracy: {max_lineargap: 1}", {"accuracy.max_lineargap: unknown", "'max_linear_gap'?"}},
  });
}

TEST_CASE("config: synthetic models") {
  const RunConfig config = ReadConfigText(
      "name: x\nmodel: {synthetic: llama-3-8b, seed: 5}\n"
      "quantize: {methods: [rtn, {method: rtn, label: w8a8, activations: {bits: 8}}]}\n");
  CHECK(config.model.synthetic);
  CHECK(config.model.name == "llama-3-8b");
  CHECK(config.model.seed == 5);
  CHECK_FALSE(ReadConfigText("name: x\n").model.synthetic);
  CheckBadLines({
      {"model: {synthetic: llama-2-7}", {"model.synthetic: unknown value", "'llama-2-7b'?"}},
      {"model: {synthetic: [x]}", {"model.synthetic: unknown value 'x'", "tinyllama-1.1b"}},
      {"model: {synthetic: tiny, seed: -1}", {"model.seed", "found '-1'"}},
      {"model: {synthetic: tiny, name: y}", {"model.name: expected no such key"}},
      {"model: {synthetic: tiny, dtype: fp16}", {"model.dtype: expected no such key"}},
      {"model: {synthetic: tiny, sed: 1}", {"model.sed: unknown key", "'seed'?"}},
      {"model: {name: y, seed: 1}", {"model.seed: unknown key"}},
  });
}

// A synthetic model with this beside it.
std::string Refusal(const std::string& line) {
  return testing::ErrorMessage(
      [&] { ReadConfigText("name: x\nmodel: {synthetic: tiny}\n" + line + "\n"); });
}

TEST_CASE("config: what random weights cannot be asked for is refused") {
  const auto has = [](const std::string& message, const std::string& part) {
    INFO(message);
    CHECK(message.find(part) != std::string::npos);
    CHECK(message.find("model.synthetic has random weights") != std::string::npos);
  };
  has(Refusal("accuracy: {path: kernel}"), "c.yaml:3: accuracy: expected no such section");
  has(Refusal("calibration: {samples: 3}"), "c.yaml:3: calibration: expected no such section");
  has(Refusal("throughput: none"), "throughput: expected something to measure");
  has(Refusal("quantize: {methods: [gptq]}"), "gptq: a model with random weights takes no method");
  has(Refusal("quantize: {methods: [smoothquant]}"), "takes no method but rtn");
  has(Refusal("quantize: {methods: [rtn], overrides: [{match: '*', method: gptq}]}"),
      "takes no method but rtn");
  has(Refusal("quantize: {methods: [rtn], weights: {granularity: column}}"),
      "takes scales by group or row");
  has(Refusal("quantize: {methods: [rtn], overrides: [{match: '*', granularity: tensor}]}"),
      "takes scales by group or row");
  has(Refusal("quantize: {methods: [rtn], activations: {granularity: tensor, dynamic: false}}"),
      "takes dynamic scales of activations");
}

}  // namespace
}  // namespace quantref
