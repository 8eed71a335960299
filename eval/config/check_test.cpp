#include "eval/config/check.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/config/keys.h"
#include "eval/config/words.h"
#include "eval/testing/read_config.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

using testing::ReadConfigText;
using Strings = std::vector<std::string>;

RunConfig With(const std::string& text, const Strings& assignments) {
  return ReadConfigText("name: x\n" + text + "\n", assignments);
}

TEST_CASE("config: an unknown key is told before any value is judged") {
  testing::CheckBadLines({
      {"quantize: {methods: [{method: rtn, lable: a}]}",
       {"quantize.methods[0].lable: unknown key", "'label'"}},
      {"quantize: {weights: {bits: 99, gruop: 3}}", {"weights.gruop: unknown key", "'group'"}},
      {"quantize: {overrides: [{mach: x, bits: 77}]}", {"overrides[0].mach", "'match'"}},
      {"model: {nmae: x, dtype: fp99}", {"model.nmae: unknown key", "'name'"}},
      {"model: [{nmae: x}, y]", {"model[0].nmae: unknown key", "'name'"}},
      {"accuracy: {stop: {min_window: 1}}", {"accuracy.stop.min_window", "'min_windows'"}},
      {"zzz: 1", {"zzz: unknown key (valid: name, model, candidates, quantize", "--list keys"}},
  });
}

TEST_CASE("config: a key of another map is found by its name") {
  testing::CheckBadLines({
      {"damp: 1", {"'quantize.gptq.damp'"}},
      {"quantize: {bits: 3}", {"'quantize.weights.bits' or 'quantize.activations.bits'"}},
      {"quantize: {methods: [{method: rtn, label: a, bits: 3}]}",
       {"'weights.bits' or 'activations.bits'"}},
      {"protocol: gptq-2048", {"'accuracy.protocol'"}},
  });
}

TEST_CASE("config: words of other tools are known") {
  testing::CheckBadLines({
      {"quantize: {gptq: {percdamp: 0.01}}", {"(did you mean 'damp'?)"}},
      {"quantize: {gptq: {desc_act: true}}", {"(did you mean 'act_order'?)"}},
      {"quantize: {ignore: [lm_head]}", {"(did you mean 'keep'?)", "stay as they are"}},
      {"ignore: [lm_head]", {"(did you mean 'quantize.keep'?)"}},
      {"calibration: {seq_len: 2048}", {"(did you mean 'length'?)"}},
      {"quantize: {overrides: [{match: x, group_size: 3}]}", {"(did you mean 'group'?)"}},
      {"tasks: [hellaswag]", {"unknown key", "perplexity, KL and top-1"}},
      {"device: cuda", {"unknown key", "the CPU", "--threads"}},
      {"out: x", {"unknown key", "--out DIR"}},
      {"limit: 10", {"unknown key", "--windows N"}},
      {"quantize: {W-Bit: 4}", {"'quantize.weights.bits'"}},
  });
  for (const FieldWord& word : FieldWords()) {
    INFO(word.word);
    CHECK((word.key.empty() ? !word.note.empty() : FindConfigKey(word.key) != nullptr));
    CHECK(FindFieldWord(word.word) == &word);
  }
}

TEST_CASE("config: one value stands for a list of one") {
  CHECK(With("quantize: {methods: rtn}", {}).Resolved() ==
        With("quantize: {methods: [rtn]}", {}).Resolved());
  CHECK(With("quantize: {methods: {method: rtn, label: a}, keep: lm_head, overrides: {match: x, "
             "bits: 3}}",
             {})
            .Resolved() ==
        With("quantize: {methods: [{method: rtn, label: a}], keep: [lm_head], overrides: [{match: "
             "x, bits: 3}]}",
             {})
            .Resolved());
  CHECK(With("accuracy: {metrics: ppl}\ncalibration: {seeds: 3}\nthroughput: {tokens: 8}", {})
            .Resolved() ==
        With("accuracy: {metrics: [ppl]}\ncalibration: {seeds: [3]}\nthroughput: {tokens: [8]}", {})
            .Resolved());
}

TEST_CASE("config: --set of a key below a short form") {
  const RunConfig fp16 = With("model: wikilm-2m", {"model.dtype=fp16"});
  CHECK(fp16.model.name == "wikilm-2m");
  CHECK(fp16.model.weight_type == WeightType::kFp16);
  CHECK(With("quantize: {activations: none}", {"quantize.activations.bits=6"})
            .general.activations->bits == 6);
  CHECK(With("accuracy: {stop: none}", {"accuracy.stop.delta_nll_halfwidth=0.5"})
            .accuracy.stop->delta_nll_halfwidth == 0.5);
  CHECK(With("throughput: none", {"throughput.decode=7"}).throughput.decode == 7);
  CHECK(
      With("model: {name: m, outliers: none}", {"model.outliers.scale=3"}).model.outliers->scale ==
      3);
  CHECK_ERROR(With("throughput: maybe", {"throughput.decode=7"}), "which has no keys");
  CHECK_ERROR(With("quantize: {methods: rtn}", {"quantize.methods.label=7"}), "which has no keys");
}

TEST_CASE("config: --set of one of two keys that exclude each other") {
  CHECK(With("calibration: {seed: 0}", {"calibration.seeds=[0, 1, 2]"}).calibration.seeds.size() ==
        3);
  CHECK(With("calibration: {seeds: [1, 2]}", {"calibration.seed=5"}).calibration.seeds[0] == 5);
  CHECK(With("model: {name: m, dtype: native}", {"model={synthetic: tiny}"}).model.synthetic);
  CHECK(With("model: m", {"model.synthetic=tiny"}).model.synthetic);
  CHECK(With("model: {synthetic: tiny}", {"model.name=m"}).model.name == "m");
  CHECK(With("quantize: {weights: {group: 64}}", {"quantize.weights.granularity=row"})
            .general.quantize.weights.granularity == Granularity::kRow);
  CHECK(With("quantize: {weights: {granularity: row}}", {"quantize.weights.group=32"})
            .general.quantize.weights.group == 32);
  CHECK(With("quantize: {weights: {group: 64}}", {"quantize.weights.granularity=group"})
            .general.quantize.weights.group == 64);
}

TEST_CASE("config: --set of a format drops what it fixes") {
  const auto weights = [](const std::string& file, const std::vector<std::string>& assignments) {
    return With("quantize: {weights: {" + file + "}}", assignments).general.quantize.weights;
  };
  const std::string all = "bits: 3, group: 128, symmetric: true, full_range: true";
  CHECK(weights(all, {"quantize.weights.format=mxfp4"}) == SchemeOf(*FindFormat("mxfp4")));
  const WeightScheme nf4 = weights(all, {"quantize.weights.format=nf4"});
  CHECK(nf4.bits == 4);
  CHECK(nf4.group == 128);
  CHECK(weights("format: nf4, double_quant: true", {"quantize.weights.format=int"}).bits == 4);
  CHECK(weights(all, {"quantize.weights.format=float_zero"}).bits == 3);
  CHECK(weights(all, {"quantize.weights.format=int"}).full_range);
  CHECK_ERROR(weights(all, {"quantize.weights.format=mxfp4", "quantize.weights.group=64"}),
              "--set quantize.weights.group", "expected 32, found '64'");
}

TEST_CASE("config: a study's values are the same however they are spelled") {
  const testing::TempDir dir;
  testing::WriteFile(dir / "c.yaml",
                     "name: x\nquantize: {methods: rtn, weights: {symmetric: [True, no]}}\n"
                     "exclude: {quantize.weights.symmetric: yes}\n");
  const std::vector<RunConfig> points = ReadRunConfigs((dir / "c.yaml").string(), {});
  REQUIRE(points.size() == 1);
  CHECK(points[0].name == "x-asym");
  CHECK_FALSE(points[0].general.quantize.weights.symmetric);
  testing::WriteFile(dir / "c.yaml",
                     "name: x\nquantize: {weights: {bits: [3, 4]}}\n"
                     "exclude: {quantize.weights.bits: 5}\n");
  CHECK_ERROR(ReadRunConfigs((dir / "c.yaml").string(), {}), "c.yaml:3: exclude[0].", "3, 4");
}

}  // namespace
}  // namespace quantref
