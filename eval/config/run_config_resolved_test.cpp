// The resolved form of a config: what a record holds and its hash is of.

#include <catch2/catch.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "eval/config/keys.h"
#include "eval/config/run_config.h"
#include "eval/testing/read_config.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using OrderedJson = nlohmann::ordered_json;
using testing::ReadConfigLine;
using testing::ReadConfigText;
using Strings = std::vector<std::string>;

RunConfig ReadWeightScheme(const std::string& weights) {
  return ReadConfigLine("quantize: {weights: {" + weights + "}}");
}

constexpr char kManyKeys[] = R"(name: many-keys
model: {name: wikilm-2m, dtype: fp16, outliers: {channels: 0.02, scale: 30, seed: 1}}
quantize:
  activations: {bits: 8, granularity: tensor, dynamic: false}
  weights: {bits: 3, granularity: group, group: 64, symmetric: true, full_range: true}
  overrides:
  - {match: layers.*.mlp.down_proj, bits: 8}
  - {match: "*.k_proj", keep: true}
calibration: {seed: 7}
accuracy: {protocol: llamacpp-512, stop: {delta_nll_halfwidth: 0.1}}
offline: sample
)";

// The leaves of the resolved config as dotted keys; lists are leaves.
void CollectKeys(const OrderedJson& json, const std::string& prefix, std::set<std::string>& keys) {
  for (const auto& [key, value] : json.items()) {
    const std::string full = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object()) {
      CollectKeys(value, full, keys);
    } else {
      keys.insert(full);
    }
  }
}

// What stands in backquotes.
Strings Quoted(const std::string& text) {
  const std::regex quoted("`([^`]*)`");
  Strings found;
  for (std::sregex_iterator at(text.begin(), text.end(), quoted), end; at != end; ++at)
    found.push_back((*at)[1]);
  return found;
}

// The keys in the tables of configs/README.md with their defaults ("" where the table names none):
// `a.b`, or `a.b`, `.c`, which stands for `a.c`.
std::map<std::string, std::string> DocumentedDefaults() {
  std::string readme = ReadFile(testing::SourceDir() / "configs/README.md", 1 << 20);
  readme.erase(0, readme.find("\n## Keys"));
  std::map<std::string, std::string> defaults;
  const std::regex row("\n\\| (`[^|]*)\\|([^|]*)\\|");
  for (std::sregex_iterator it(readme.begin(), readme.end(), row), end; it != end; ++it) {
    const Strings names = Quoted((*it)[1]), values = Quoted((*it)[2]);
    std::string section;
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string key = names[i].starts_with('.') ? section + names[i] : names[i];
      section = key.substr(0, key.rfind('.'));
      defaults.emplace(key == "model" ? "model.name" : key,
                       values.size() == names.size() ? values[i] : "");
    }
  }
  return defaults;
}

std::set<std::string> DocumentedKeys() {
  std::set<std::string> keys;
  for (const auto& [key, value] : DocumentedDefaults()) keys.insert(key);
  return keys;
}

TEST_CASE("config: the resolved text has every documented key and no other") {
  std::set<std::string> resolved;  // some keys make sense beside certain others only
  for (const RunConfig& config :
       {ReadConfigText("name: x\n"), ReadConfigText(kManyKeys),
        ReadWeightScheme("granularity: row"), ReadConfigLine("model: {synthetic: tiny}"),
        ReadConfigLine("quantize: {methods: [{method: rtn, label: kv, kv_cache: {}}]}"),
        ReadConfigLine("quantize: {kv_cache: {}, weights: none}"),
        ReadConfigLine("quantize: {methods: [{method: rtn, label: b, budget: {}}]}"),
        ReadConfigLine("quantize: {budget: {}}"),
        ReadConfigLine("quantize: {methods: [rtn+qat]}\nfinetune: {scales: learned}"),
        ReadConfigLine("quantize: {methods: [rtn+lora]}"), ReadConfigLine("throughput: none"),
        ReadConfigLine("quantize: {weights: {format: nf4}}"),
        ReadConfigLine("quantize: {activations: {format: fp8_e4m3, group: 64}}"),
        ReadConfigLine("quantize: {activations: {outlier_threshold: 6}}"),
        ReadConfigLine("candidates: {q: q.gguf}")}) {
    CollectKeys(OrderedJson::parse(config.Resolved()), "", resolved);
  }
  std::set<std::string> documented = DocumentedKeys();
  CHECK(documented.erase("exclude") == 1);  // of a study; its points have none
  CHECK(documented.size() >= 20);
  CHECK(resolved == documented);
}

TEST_CASE("config: the table of keys is that of the README") {
  std::set<std::string> known;
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.name.find('[') == std::string::npos) known.insert(key.name);
  }
  CHECK(known.erase("model") == 1);             // in the README's table it stands for its name
  CHECK(known.erase("calibration.seed") == 1);  // short for the other
  CHECK(known == DocumentedKeys());
}

TEST_CASE("config: the README's defaults are those of the keys") {
  size_t checked = 0;
  for (const auto& [name, documented] : DocumentedDefaults()) {
    const ConfigKey* key = FindConfigKey(name);
    if (key == nullptr || key->otherwise.empty() || documented.empty()) continue;
    INFO(name);
    CHECK(documented == key->otherwise);
    ++checked;
  }
  CHECK(checked > 45);
}

TEST_CASE("config: the resolved text says what was read") {
  const OrderedJson json = OrderedJson::parse(ReadConfigText(kManyKeys).Resolved());
  CHECK(json["name"] == "many-keys");
  CHECK(json["model"] ==
        OrderedJson{{"name", "wikilm-2m"},
                    {"dtype", "fp16"},
                    {"outliers", {{"channels", 0.02}, {"scale", 30.0}, {"seed", 1}}}});
  CHECK(json["quantize"]["activations"] ==
        OrderedJson{{"bits", 8}, {"granularity", "tensor"}, {"dynamic", false}});
  CHECK(json["quantize"]["weights"]["bits"] == 3);
  CHECK(json["quantize"]["weights"]["group"] == 64);
  CHECK(json["quantize"]["weights"]["full_range"] == true);
  CHECK(json["quantize"]["overrides"][0] ==
        OrderedJson{{"match", "layers.*.mlp.down_proj"}, {"bits", 8}});
  CHECK(json["quantize"]["overrides"][1] == OrderedJson{{"match", "*.k_proj"}, {"keep", true}});
  CHECK(json["calibration"]["seeds"] == OrderedJson::array({7}));
  CHECK(json["accuracy"]["protocol"] == "llamacpp-512");
  CHECK(json["offline"] == "sample");
}

TEST_CASE("config: the resolved text is a config that means the same") {
  for (
      const RunConfig& config :
      {ReadConfigText("name: x\n"),
       ReadConfigText(kManyKeys),
       ReadWeightScheme("group: row"),
       ReadWeightScheme("granularity: column, zero_in_range: false"),
       ReadConfigLine("quantize: {methods: [rtn], overrides: [{match: x, group: row}]}"),
       ReadConfigLine("quantize: {methods: [awq, smoothquant+gptq, {method: awq+rtn, label: low, "
                      "weights: {bits: 3}, awq: {clip: false}}], gptq: {damp: 0.5}}"),
       ReadConfigLine(
           "quantize: {weights: {symmetric: true, full_range: true}, methods: [{method: rtn, "
           "label: asym, weights: {symmetric: false}}]}"),
       ReadConfigLine(
           "quantize: {weights: {zero_in_range: false}, methods: [{method: rtn, label: sym, "
           "weights: {symmetric: true}}]}"),
       ReadConfigLine(
           "quantize: {methods: [rtn+qat, awq+qat, full, {method: gptq+qat, label: q}]}\n"
           "finetune: {steps: 7, warmup: 0, loss: ce, lr: 0.01}"),
       ReadConfigLine("model: {synthetic: llama-2-7b, seed: 3}"),
       ReadConfigLine("throughput: none"),
       ReadConfigLine("throughput: {threads: [1, 2], tokens: [3], decode: 0}"),
       ReadConfigLine("accuracy: {path: simulated, max_path_gap: 1e-7, max_linear_gap: 0.1}"),
       ReadConfigLine("accuracy: {protocol: llamacpp-1024, window: 256, bos: always}"),
       ReadConfigLine("quantize: {activations: {dynamic: false}, methods: [{method: rtn, label: w, "
                      "activations: none}, {method: rtn, label: a6, activations: {bits: 6}}]}"),
       ReadConfigLine(
           "quantize: {activations: {outlier_threshold: 6}, methods: [rtn, {method: rtn, label: b, "
           "activations: {outlier_weights: int8}}, {method: rtn, label: w, activations: none}, "
           "{method: rtn, label: plain, activations: {outlier_threshold: none}}]}"),
       ReadConfigLine(
           "quantize: {activations: {format: mxfp4}, methods: [rtn, {method: rtn, label: "
           "i, activations: {format: int}}, {method: rtn, label: f, activations: "
           "{format: fp8_e4m3, group: 64}}]}"),
       ReadConfigLine("quantize: {methods: [{method: rtn, label: kv, kv_cache: {bits: 2}}]}"),
       ReadConfigLine("quantize: {methods: [rtn, {method: rtn, label: b, budget: {bits: 4}}]}"),
       ReadConfigLine(
           "quantize: {budget: {choices: [2, 8]}, methods: [rtn, {method: rtn, label: r, budget: "
           "{rule: random, seed: 3}}, {method: rtn, label: n, budget: none}]}"),
       ReadConfigLine("quantize: {kv_cache: {group: 32}, methods: [{method: rtn, label: heads, "
                      "kv_cache: {keys: head, values: head}}]}"),
       ReadConfigLine(
           "quantize: {weights: none, kv_cache: {keys: token, group: row}, methods: [rtn, "
           "{method: gptq, label: g, weights: {bits: 3}, kv_cache: none}]}"),
       ReadConfigLine("quantize: {activations: {bits: 4, group: 64}, methods: [rtn, {method: rtn, "
                      "label: t, activations: {granularity: token}}, {method: rtn, label: e, "
                      "activations: {format: fp8_e5m2}}]}")}) {
    CHECK(ReadConfigText(config.Resolved()).Resolved() == config.Resolved());
  }
}

TEST_CASE("config: equal configs resolve to equal texts and others to others") {
  const std::string plain = ReadConfigText("name: x\n").Resolved();
  CHECK(ReadConfigText("name: x\n").Resolved() == plain);
  CHECK(ReadConfigText("offline: error\n\n# a comment\nmodel: {name: wikilm-28m}\nname: 'x'\n"
                       "quantize: {weights: {granularity: group, group: 128, full_range: false}}\n")
            .Resolved() == plain);
  CHECK(ReadConfigText("name: y\n", {"name=x"}).Resolved() == plain);
  CHECK(ReadWeightScheme("group: row").Resolved() ==
        ReadWeightScheme("granularity: row").Resolved());
  CHECK(ReadWeightScheme("group: row").Resolved() == ReadWeightScheme("group: 0").Resolved());
  std::set<std::string> different = {plain};
  const Strings lines = {"model: wikilm-2m",
                         "model: {dtype: fp16}",
                         "quantize: {methods: [rtn]}",
                         "quantize: {weights: {bits: 3}}",
                         "quantize: {weights: {group: 64}}",
                         "quantize: {weights: {group: row}}",
                         "quantize: {weights: {granularity: column}}",
                         "quantize: {weights: {symmetric: true}}",
                         "quantize: {weights: {symmetric: true, full_range: true}}",
                         "quantize: {weights: {zero_in_range: false}}",
                         "quantize: {keep: []}",
                         "quantize: {weights: none}",
                         "quantize: {kv_cache: {}}",
                         "quantize: {kv_cache: {bits: 2}}",
                         "quantize: {kv_cache: {residual: 64}}",
                         "quantize: {budget: {}}",
                         "quantize: {budget: {bits: 5}}",
                         "quantize: {budget: {choices: [2, 4]}}",
                         "quantize: {budget: {rule: random}}",
                         "quantize: {budget: {rule: random, seed: 1}}",
                         "quantize: {budget: {samples: 2}}",
                         "quantize: {overrides: [{match: x, bits: 8}]}",
                         "quantize: {overrides: [{match: x, group: 8}]}",
                         "quantize: {overrides: [{match: x, keep: true}]}",
                         "quantize: {overrides: [{match: x, method: gptq}]}",
                         "quantize: {methods: [gptq]}",
                         "quantize: {methods: [{method: rtn, label: b}]}",
                         "quantize: {methods: [{method: rtn, label: rtn, weights: {bits: 3}}]}",
                         "quantize: {gptq: {damp: 0.02}}",
                         "quantize: {gptq: {act_order: false}}",
                         "quantize: {smoothquant: {alpha: 0.75}}",
                         "quantize: {activations: {bits: 8}}",
                         "quantize: {activations: {bits: 6}}",
                         "quantize: {activations: {granularity: tensor}}",
                         "quantize: {activations: {dynamic: false}}",
                         "quantize: {activations: {outlier_threshold: 6}}",
                         "quantize: {activations: {group: 64}}",
                         "quantize: {activations: {group: 32}}",
                         "quantize: {activations: {format: mxfp4}}",
                         "quantize: {activations: {format: fp8_e4m3}}",
                         "quantize: {activations: {outlier_threshold: 5}}",
                         "quantize: {activations: {outlier_threshold: 6, outlier_weights: int8}}",
                         "model: {outliers: {scale: 10}}",
                         "calibration: {seeds: [0, 1]}",
                         "calibration: {sequential: false}",
                         "calibration: {allow_overlap: true}",
                         "calibration: {dataset: sample}",
                         "calibration: {split: test}",
                         "calibration: {samples: 1}",
                         "calibration: {length: 1}",
                         "calibration: {seed: 1}",
                         "accuracy: {dataset: sample}",
                         "accuracy: {split: train}",
                         "accuracy: {protocol: full-stride}",
                         "accuracy: {window: 512}",
                         "accuracy: {bos: never}",
                         "accuracy: {bos: always}",
                         "accuracy: {metrics: [ppl]}",
                         "accuracy: {order: text}",
                         "accuracy: {stop: {delta_nll_halfwidth: 0.1}}",
                         "accuracy: {stop: {delta_nll_halfwidth: 0.2}}",
                         "accuracy: {stop: {delta_nll_halfwidth: 0.1, min_windows: 40}}",
                         "accuracy: {stop: {delta_nll_halfwidth: 0.1, seed: 1}}",
                         "model: {synthetic: tiny}",
                         "model: {synthetic: tiny, seed: 1}",
                         "accuracy: {path: simulated}",
                         "accuracy: {max_path_gap: 1e-8}",
                         "accuracy: {max_linear_gap: 1e-4}",
                         "throughput: none",
                         "throughput: {kernels: false}",
                         "throughput: {standard_shapes: false}",
                         "throughput: {tokens: [1]}",
                         "throughput: {prefill: 1}",
                         "throughput: {decode: 1}",
                         "throughput: {repetitions: 1}",
                         "throughput: {threads: 2}",
                         "throughput: {threads: [1, 2]}",
                         "offline: sample"};
  for (const std::string& line : lines) different.insert(ReadConfigLine(line).Resolved());
  CHECK(different.size() == lines.size() + 1);

  // What no score depends on is left out there, and nothing else: a journal is good for another
  // config only where all the rest is the same.
  std::set<std::string> scores = {ReadConfigLine("").ResolvedForScores()};
  size_t speed = 0;
  for (const std::string& line : lines) {
    scores.insert(ReadConfigLine(line).ResolvedForScores());
    speed += line.starts_with("throughput") || line.starts_with("offline") ? 1 : 0;
  }
  CHECK(speed > 1);
  CHECK(scores.size() == lines.size() + 1 - speed);
}

}  // namespace
}  // namespace quantref
