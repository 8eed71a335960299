#include "eval/config/run_config.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/read_config.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CheckBadLines;
using testing::ReadConfigLine;
using testing::ReadConfigText;
using Strings = std::vector<std::string>;

RunConfig ReadWeights(const std::string& weights) {
  return ReadConfigLine("quantize: {weights: {" + weights + "}}");
}

RunConfig ReadOverride(const std::string& weights, const std::string& entry) {
  return ReadConfigLine("quantize: {weights: {" + weights + "}, overrides: [{" + entry + "}]}");
}

Strings Labels(const RunConfig& config) {
  Strings labels;
  for (const CellConfig& cell : config.cells) labels.push_back(cell.label);
  return labels;
}

constexpr char kEveryKey[] = R"(name: every-key_1.0
model: {name: wikilm-2m, dtype: fp16}
quantize:
  methods: [rtn]
  weights: {bits: 3, granularity: group, group: 64, symmetric: true, full_range: true}
  activations: none
  keep: ["lm_head", 'layers.0.*']
  overrides:
  - {match: layers.*.mlp.down_proj, bits: 8}
  - {match: "*.q_proj", group: row, symmetric: false, zero_in_range: false}
  - {match: "*.k_proj", keep: true}
calibration: {dataset: sample, split: test, samples: 16, length: 512, seed: 7}
accuracy: {dataset: ./a/file, split: validation, protocol: llamacpp-512, window: 1024, bos: never,
  metrics: [ppl, kl],
  stop: {delta_nll_halfwidth: 0.25, min_windows: 9, seed: 3}}
offline: sample
)";

TEST_CASE("config: metrics are a set, whatever order and however often they are named") {
  const auto metrics = [](const std::string& list) {
    return ReadConfigText("name: x\naccuracy: {metrics: " + list + "}\n").accuracy.metrics;
  };
  CHECK_FALSE(metrics("[ppl, ppl]").Compare());
  CHECK(metrics("[ppl, top1]") == Metrics{.kl = false, .top1 = true});
  CHECK(metrics("[kl, ppl, kl]") == Metrics{.kl = true, .top1 = false});
  CHECK(metrics("[kept_logits, ppl, kl]") ==
        Metrics{.kl = true, .top1 = false, .kept_logits = true});
  CHECK_FALSE(ReadConfigText("name: x\n").accuracy.metrics.kept_logits);
}

TEST_CASE("config: all but the name has a default") {
  const RunConfig config = ReadConfigText("name: x\n");
  CHECK(config.name == "x");
  CHECK(config.model.name == "wikilm-28m");
  CHECK(config.model.weight_type == WeightType::kNative);
  CHECK(config.cells.empty());
  CHECK(config.general.quantize.weights == WeightScheme{});
  CHECK(config.general.quantize.weights.bits == 4);
  CHECK(config.general.quantize.weights.granularity == Granularity::kGroup);
  CHECK(config.general.quantize.weights.group == 128);
  CHECK_FALSE(config.general.quantize.weights.symmetric);
  CHECK_FALSE(config.general.quantize.weights.full_range);
  CHECK(config.general.quantize.weights.zero_in_range);
  CHECK(config.general.quantize.keep == Strings{"embed_tokens", "lm_head"});
  CHECK(config.general.quantize.overrides.empty());
  CHECK(config.calibration.dataset == "wikitext-2");
  CHECK(config.calibration.split == "validation");
  CHECK(config.calibration.samples == 128);
  CHECK(config.calibration.length == 2048);
  CHECK(config.calibration.seeds == std::vector<size_t>{0});
  CHECK(config.accuracy.dataset == "wikitext-2");
  CHECK(config.accuracy.split == "test");
  CHECK(config.accuracy.protocol == "gptq-2048");
  CHECK(config.accuracy.ChosenProtocol().window == 2048);
  CHECK(config.accuracy.bos == BosRule::kTokenizer);
  CHECK(config.accuracy.metrics == Metrics{.kl = true, .top1 = true});
  CHECK_FALSE(config.accuracy.stop);
  CHECK_FALSE(config.sample_when_offline);
}

TEST_CASE("config: every key is read") {
  const RunConfig config = ReadConfigText(kEveryKey);
  CHECK(config.name == "every-key_1.0");
  CHECK(config.model.name == "wikilm-2m");
  CHECK(config.model.weight_type == WeightType::kFp16);
  CHECK(Labels(config) == Strings{"rtn"});
  CHECK(config.general.quantize.weights == WeightScheme{.bits = 3,
                                                        .granularity = Granularity::kGroup,
                                                        .group = 64,
                                                        .symmetric = true,
                                                        .full_range = true,
                                                        .zero_in_range = true});
  CHECK(config.general.quantize.keep == Strings{"lm_head", "layers.0.*"});
  REQUIRE(config.general.quantize.overrides.size() == 3);
  const SchemeOverride& down = config.general.quantize.overrides[0];
  CHECK(down.match == "layers.*.mlp.down_proj");
  CHECK(down.bits == 8);
  CHECK_FALSE(down.keep);
  CHECK_FALSE((down.group || down.granularity || down.symmetric));
  const SchemeOverride& q = config.general.quantize.overrides[1];
  CHECK(q.granularity == Granularity::kRow);
  CHECK(q.symmetric == false);
  CHECK(q.zero_in_range == false);
  CHECK_FALSE(q.bits);
  CHECK(config.general.quantize.overrides[2].keep);
  CHECK(config.calibration.dataset == "sample");
  CHECK(config.calibration.split == "test");
  CHECK(config.calibration.samples == 16);
  CHECK(config.calibration.length == 512);
  CHECK(config.calibration.seeds == std::vector<size_t>{7});
  CHECK(config.accuracy.dataset == "./a/file");
  CHECK(config.accuracy.split == "validation");
  CHECK(config.accuracy.protocol == "llamacpp-512");
  CHECK(config.accuracy.ChosenProtocol().name == "llamacpp-1024");
  CHECK(config.accuracy.bos == BosRule::kNever);
  CHECK(config.accuracy.metrics == Metrics{.kl = true, .top1 = false});
  CHECK(config.accuracy.stop == StopRule{.delta_nll_halfwidth = 0.25, .min_windows = 9, .seed = 3});
  CHECK(config.sample_when_offline);
}

TEST_CASE("config: a model is a name or a map") {
  CHECK(ReadConfigLine("model: a/folder").model.name == "a/folder");
  CHECK(ReadConfigLine("model: {name: b}").model.name == "b");
  CHECK(ReadConfigLine("model: {dtype: fp16}").model.name == "wikilm-28m");
  CHECK(ReadConfigLine("model: {dtype: native}").model.weight_type == WeightType::kNative);
}

TEST_CASE("config: values of the wrong type or out of range are errors") {
  CheckBadLines({
      {"model: [[a]]", {"model: expected a string, found a list", "point model: [a]"}},
      {"model: {name: {}}", {"model.name: expected a string, found a map"}},
      {"quantize: rtn", {"quantize: expected a map, found 'rtn'"}},
      {"quantize: [rtn]", {"quantize: expected a map, found a list"}},
      {"quantize: {methods: ~}", {"quantize.methods: expected a list", "found nothing"}},
      {"quantize: {methods: [[rtn]]}", {"quantize.methods[0]: expected a map"}},
      {"quantize: {weights: 4}", {"quantize.weights: unknown value '4'", "none"}},
      {"quantize: {weights: {format: itn}}", {"weights.format", "'itn'", "did you mean 'int'?"}},
      {"quantize: {weights: {format: mxfp4, group: 64}}",
       {"quantize.weights.group: expected 32, found '64'", "mxfp4 is defined for blocks of 32"}},
      {"quantize: {weights: {format: nvfp4, group: row}}",
       {"quantize.weights.group: expected 16", "nvfp4 is defined for blocks of 16"}},
      {"quantize: {weights: {format: mxfp4, granularity: tensor}}",
       {"quantize.weights.granularity: expected group", "blocks of 32"}},
      {"quantize: {weights: {format: mxfp4, double_quant: true}}",
       {"quantize.weights.double_quant: expected false beside format: mxfp4", "nf4, fp4"}},
      {"quantize: {weights: {double_quant: true}}", {"expected false beside format: int"}},
      {"quantize: {weights: {double_quant: 8}}", {"double_quant: expected true or false"}},
      {"quantize: {weights: {format: nf4, symmetric: true}}",
       {"weights.symmetric: expected no such key beside format: nf4"}},
      {"quantize: {weights: {format: float_zero, zero_in_range: false}}",
       {"weights.zero_in_range: expected no such key beside format: float_zero"}},
      {"quantize: {weights: {format: nf4, bits: 3}}", {"weights.bits", "4"}},
      {"quantize: {weights: {format: fp8_e4m3, bits: 4}}", {"weights.bits", "8"}},
      {"quantize: {weights: {format: ternary, bits: 4}}", {"weights.bits", "2"}},
      {"quantize: {weights: {format: nf4}, overrides: [{match: x, format: nvfp4, group: 32}]}",
       {"overrides[0].group: expected 16"}},
      {"quantize: {overrides: [{match: x, double_quant: true}]}",
       {"overrides[0].double_quant: expected false beside format: int"}},
      {"quantize: {weights: {bits: 1}}", {"quantize.weights.bits", "from 2 to 8, found '1'"}},
      {"quantize: {weights: {bits: 9}}", {"quantize.weights.bits", "from 2 to 8, found '9'"}},
      {"quantize: {weights: {bits: four}}", {"quantize.weights.bits", "found 'four'"}},
      {"quantize: {weights: {group: -8}}", {"quantize.weights.group", "'row'", "found '-8'"}},
      {"quantize: {weights: {group: rows}}", {"quantize.weights.group", "'row'", "found 'rows'"}},
      {"quantize: {weights: {group: []}}", {"quantize.weights.group", "found an empty list"}},
      {"quantize: {weights: {group: 9999999}}", {"weights.group", "1048576, found '9999999'"}},
      {"quantize: {weights: {symmetric: 1}}", {"weights.symmetric: expected true or false"}},
      {"quantize: {weights: {full_range: nope}}", {"weights.full_range: expected true or false"}},
      {"quantize: {weights: {zero_in_range: x}}", {"weights.zero_in_range", "found 'x'"}},
      {"quantize: {keep: {a: b}}", {"quantize.keep: expected a list", "found a map"}},
      {"quantize: {overrides: [x]}", {"quantize.overrides[0]: expected a map, found 'x'"}},
      {"quantize: {overrides: [{match: [x]}]}", {"quantize.overrides[0].match: expected a string"}},
      {"quantize: {overrides: [{match: x, bits: 0}]}", {"overrides[0].bits", "2 to 8, found '0'"}},
      {"quantize: {overrides: [{match: x, keep: 1}]}", {"overrides[0].keep: expected true or"}},
      {"calibration: 128", {"calibration: expected a map, found '128'"}},
      {"calibration: {samples: 0}", {"calibration.samples", "from 1 to", "found '0'"}},
      {"calibration: {length: 0}", {"calibration.length", "from 1 to", "found '0'"}},
      {"calibration: {seed: -1}", {"calibration.seed", "from 0 to", "found '-1'"}},
      {"calibration: {dataset: []}", {"calibration.dataset: expected at least one value"}},
      {"accuracy: ppl", {"accuracy: expected a map, found 'ppl'"}},
      {"accuracy: {dataset: ~}", {"accuracy.dataset: expected a string, found nothing"}},
      {"accuracy: {dataset: wikitext-3}", {"accuracy.dataset: unknown data set", "'wikitext-2'"}},
      {"accuracy: {split: tset}", {"accuracy.split: unknown split 'tset' of wikitext-2", "'test'"}},
      {"calibration: {dataset: smple}", {"calibration.dataset: unknown data set", "'sample'"}},
      {"finetune: {dataset: sample}", {"finetune.dataset: unknown split 'train' of sample"}},
      {"accuracy: {split: {}}", {"accuracy.split: expected a string, found a map"}},
      {"accuracy: {protocol: {x: y}}", {"accuracy.protocol: expected a string, found a map"}},
      {"accuracy: {protocol: gptq-1}", {"accuracy.protocol", "windows of 2 to", "found 1"}},
      {"accuracy: {window: 0}", {"accuracy.window: expected a whole number from 2"}},
      {"accuracy: {window: all}", {"accuracy.window: expected", "found 'all'"}},
      {"accuracy: {window: [512]}", {"accuracy.window: expected 'protocol' or a number of tokens"}},
      {"accuracy: {protocol: llamacpp-512, window: 3}", {"accuracy.window: expected windows of 4"}},
      {"accuracy: {bos: yes}", {"accuracy.bos: unknown value 'yes'"}},
      {"accuracy: {metrics: kl}", {"accuracy.metrics: expected a list with ppl", "found 'kl'"}},
      {"accuracy: {metrics: [kl]}", {"accuracy.metrics: expected a list with ppl"}},
      {"accuracy: {metrics: [ppl, kept_logits]}", {"accuracy.metrics: expected kl beside"}},
      {"accuracy: {order: words}", {"accuracy.order: unknown value 'words'", "random, text"}},
      {"accuracy: {order: text, stop: {delta_nll_halfwidth: 1}}",
       {"accuracy.order: expected random", "a stop rule"}},
      {"accuracy: {stop: 0.1}", {"accuracy.stop: unknown value '0.1'", "none"}},
      {"accuracy: {stop: [x]}", {"accuracy.stop: expected", "found a list"}},
      {"accuracy: {stop: {delta_nll_halfwidth: x}}", {"stop.delta_nll_halfwidth", "found 'x'"}},
      {"accuracy: {stop: {delta_nll_halfwidth: 0}}", {"a positive number", "found '0'"}},
      {"accuracy: {stop: {delta_nll_halfwidth: inf}}", {"expected a number", "found 'inf'"}},
      {"accuracy: {stop: {delta_nll_halfwidth: 1, min_windows: 1}}", {"min_windows", "from 8"}},
      {"accuracy: {stop: {delta_nll_halfwidth: 1, seed: -1}}", {"accuracy.stop.seed", "'-1'"}},
      {"offline: [sample]", {"offline: expected one of sample, error, found a list"}},
  });
  CHECK_ERROR(ReadConfigLine("accuracy: {stop: {}}"), "accuracy.stop.delta_nll_halfwidth",
              "expected a positive number", "found nothing");
  CHECK_ERROR(ReadConfigLine("quantize: {overrides: [{bits: 8}]}"), "quantize.overrides[0].match",
              "expected a pattern", "found nothing");
}

TEST_CASE("config: unknown keys and names are errors that name the nearest") {
  CheckBadLines({
      {"modle: x", {"modle: unknown key (did you mean 'model'?)"}},
      {"model: {nmae: x}", {"model.nmae: unknown key (did you mean 'name'?)"}},
      {"quantize: {method: [rtn]}", {"quantize.method: unknown key (did you mean 'methods'?)"}},
      {"quantize: {weights: {bit: 4}}", {"quantize.weights.bit:", "did you mean 'bits'?"}},
      {"quantize: {overrides: [{match: x, bist: 4}]}", {"overrides[0].bist:", "'bits'?"}},
      {"calibration: {sample: 4}", {"calibration.sample:", "did you mean 'samples'?"}},
      {"accuracy: {data-set: x}", {"accuracy.data-set:", "did you mean 'dataset'?"}},
      {"model: {dtype: fp61}", {"model.dtype: unknown value 'fp61' (did you mean 'fp16'?)"}},
      {"quantize: {weights: {granularity: colum}}", {"granularity: unknown value", "'column'?"}},
      {"quantize: {activations: int8}", {"quantize.activations: unknown value 'int8'"}},
      {"accuracy: {protocol: gptq2048}", {"accuracy.protocol:", "did you mean 'gptq-2048'?"}},
      {"accuracy: {metrics: [ppl, klx]}", {"accuracy.metrics: unknown metric 'klx'", "'kl'?"}},
      {"accuracy: {stop: {delta_nll_halfwidth: 1, seeds: 1}}", {"stop.seeds:", "'seed'?"}},
      {"offline: smaple", {"offline: unknown value 'smaple' (did you mean 'sample'?)"}},
      {"quantize: {methods: [rtn2]}", {"methods: unknown method 'rtn2' (did you mean 'rtn'?)"}},
      {"quantize: {methods: [nearest]}", {"quantize.methods: unknown method 'nearest'", "rtn"}},
      {"quantize: {methods: [rtn, rtn]}", {"methods: the method 'rtn' stands twice"}},
      {"name: y", {"the key 'name' stands twice"}},
  });
}

TEST_CASE("config: names fit into file names") {
  CHECK(ReadConfigText("name: " + std::string(80, 'a')).name.size() == 80);
  for (const std::string bad : {"a/b", "a b", "'..'", ".hidden", "''", "ä", "~", "[a]"}) {
    INFO(bad);
    CHECK_ERROR(ReadConfigText("name: " + bad), "c.yaml:1: name: expected");
  }
  CHECK_ERROR(ReadConfigText("name: " + std::string(81, 'a')), "name: expected up to 80");
  CHECK_ERROR(ReadConfigText("model: x\n"), "c.yaml: name: expected", "found nothing");
}

TEST_CASE("config: group and granularity may agree but not contradict") {
  const auto weights = [](const std::string& text) {
    return ReadWeights(text).general.quantize.weights;
  };
  CHECK(weights("group: 32") == weights("group: 32, granularity: group"));
  CHECK(weights("group: row").granularity == Granularity::kRow);
  CHECK(weights("group: 0") == weights("group: row"));
  CHECK(weights("granularity: row") == weights("group: row, granularity: row"));
  CHECK(weights("granularity: tensor").granularity == Granularity::kTensor);
  CHECK(weights("granularity: column").granularity == Granularity::kColumn);
  CHECK(weights("group: tensor") == weights("granularity: tensor"));
  CHECK(weights("group: column") == weights("group: column, granularity: column"));
  CHECK(weights("granularity: group").group == 128);
  CHECK_ERROR(weights("group: 32, granularity: row"), "c.yaml:2: quantize.weights.group",
              "granularity: row", "found '32'");
  CHECK_ERROR(weights("group: 32, granularity: tensor"), "granularity: tensor", "found '32'");
  CHECK_ERROR(weights("group: row, granularity: group"), "weights.group", "found 'row'");
  CHECK_ERROR(weights("group: 0, granularity: column"), "weights.group", "found '0'");
  CHECK_ERROR(weights("group: column, granularity: row"), "granularity: row", "found 'column'");
  CHECK_ERROR(weights("group: columns"), "'row', 'column', 'tensor' or a number", "'columns'");
  CHECK_ERROR(ReadOverride("", "match: x, group: 8, granularity: column"), "overrides[0].group");
}

TEST_CASE("config: ranges belong to one kind of symmetry each") {
  CHECK(ReadWeights("symmetric: true, full_range: true").general.quantize.weights.full_range);
  CHECK_FALSE(ReadWeights("zero_in_range: false").general.quantize.weights.zero_in_range);
  CHECK_ERROR(ReadWeights("full_range: true"), "c.yaml:2: quantize.weights.full_range",
              "symmetric is false");
  CHECK_ERROR(ReadWeights("symmetric: true, zero_in_range: false"),
              "c.yaml:2: quantize.weights.zero_in_range", "symmetric is true");
  CHECK_NOTHROW(ReadOverride("symmetric: true", "match: x, full_range: true"));
  CHECK_NOTHROW(ReadOverride("", "match: x, symmetric: true, full_range: true"));
  CHECK_ERROR(ReadOverride("", "match: x, full_range: true"), "overrides[0].full_range");
  CHECK_ERROR(ReadOverride("symmetric: true", "match: x, zero_in_range: false"),
              "overrides[0].zero_in_range");
  CHECK_ERROR(ReadOverride("", "match: x, keep: true, bits: 8"), "overrides[0].keep");
}

TEST_CASE("config: --set wins over the file and is as strict") {
  const std::string text = "name: x\nquantize:\n  weights: {bits: 4, group: 32}\n";
  const RunConfig config = ReadConfigText(
      text, {"quantize.weights.bits=3", "accuracy.protocol=full-stride", "model=wikilm-2m",
             "quantize.methods=[rtn]", "quantize.overrides=[{match: '*', bits: 8}]",
             "quantize.weights.bits=5", "name=renamed"});
  CHECK(config.name == "renamed");
  CHECK(config.general.quantize.weights.bits == 5);
  CHECK(config.general.quantize.weights.group == 32);
  CHECK(config.accuracy.protocol == "full-stride");
  CHECK(config.model.name == "wikilm-2m");
  CHECK(Labels(config) == Strings{"rtn"});
  REQUIRE(config.general.quantize.overrides.size() == 1);
  CHECK(config.general.quantize.overrides[0].bits == 8);

  CHECK_ERROR(ReadConfigText(text, {"quantize.weights.bits=9"}), "--set quantize.weights.bits",
              "from 2 to 8, found '9'");
  CHECK_ERROR(ReadConfigText(text, {"quantize.wieghts.bits=3"}), "--set quantize.wieghts",
              "did you mean 'weights'?");
  CHECK_ERROR(ReadConfigText(text, {"quantize.overrides=[{match: x, bit: 3}]"}),
              "--set quantize.overrides[0].bit:", "'bits'?");
  CHECK_ERROR(ReadConfigText(text, {"quantize.overrides=[x]"}),
              "--set quantize.overrides[0]: expected a map");
  CHECK_ERROR(ReadConfigText(text, {"seed"}), "--set", "expected key=value");
  CHECK_ERROR(ReadConfigText(text, {"name.first=1"}), "--set name.first=1", "has no keys");
}

TEST_CASE("config: every file of configs/ is valid and bears its own name") {
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(testing::SourceDir() / "configs")) {
    if (entry.path().extension() != ".yaml") continue;
    INFO(entry.path());
    ++files;
    const std::vector<RunConfig> configs = ReadRunConfigs(entry.path().string(), {});
    REQUIRE(configs.size() == 1);
    CHECK(configs[0].name == entry.path().stem().string());
  }
  CHECK(files >= 5);
}

}  // namespace
}  // namespace quantref
