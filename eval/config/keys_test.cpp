// The table of keys against what reads them.

#include "eval/config/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/config/schema.h"
#include "eval/support/resources.h"
#include "eval/testing/read_config.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using Kind = ConfigKey::Kind;
using Strings = std::vector<std::string>;

// A config in which the key may be set.
RunConfig ReadWith(const std::string& key, const std::string& value) {
  std::string text = "name: x\n";
  if (key.starts_with("accuracy.stop.")) text += "accuracy: {stop: {delta_nll_halfwidth: 1}}\n";
  if (key == "finetune.scales") text += "quantize: {methods: [rtn+qat]}\n";
  if (key == "finetune.warmup") text += "finetune: {steps: 1048576}\n";
  if (key == "model.seed") text += "model: {synthetic: tiny}\n";
  return testing::ReadConfigText(text, {key + "=" + value});
}

std::string Shown(double value) { return fmt::format("{:.17g}", value); }

void CheckRange(const ConfigKey& key) {
  INFO(key.name);
  const bool count = key.kind == Kind::kCount;
  const double step = count ? 1 : 1e-3;
  const auto accepted = [&](double value) { CHECK_NOTHROW(ReadWith(key.name, Shown(value))); };
  const auto refused = [&](double value) {
    CHECK_ERROR(ReadWith(key.name, Shown(value)), "--set " + key.name, "expected");
  };
  accepted(key.least + (key.above_least ? step : 0));
  if (key.above_least) refused(key.least);
  refused(key.least - step);
  if (key.most > 1e15) return;
  accepted(key.most);
  refused(key.most + (count ? step : key.most * step));
}

TEST_CASE("config keys: ranges are those that the reader takes") {
  size_t checked = 0;
  for (const ConfigKey& key : ConfigKeys()) {
    const bool number = key.kind == Kind::kCount || key.kind == Kind::kNumber;
    if (!number || key.name.find('[') != std::string::npos) continue;
    CheckRange(key);
    ++checked;
  }
  CHECK(checked > 20);
}

TEST_CASE("config keys: the reader takes each word of a choice, and no other") {
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.kind != Kind::kChoice || key.name.find('[') != std::string::npos) continue;
    INFO(key.name);
    for (const std::string& word : key.words) {
      // Metrics always have the first; some shapes have no room for the default group.
      if (key.list || key.name == "model.synthetic") continue;
      if (key.name == "quantize.activations.granularity" || word == "column") continue;
      if (key.name == "quantize.activations.outlier_weights") continue;  // beside a threshold
      CHECK_NOTHROW(ReadWith(key.name, word));
    }
    CHECK_ERROR(ReadWith(key.name, "nonsense"), "--set " + key.name, "nonsense");
  }
}

// The leaves below a key as text, lists in brackets.
std::string AsYaml(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  Strings items;
  for (const Json& item : value) items.push_back(AsYaml(item));
  return fmt::format("[{}]", fmt::join(items, ", "));
}

TEST_CASE("config keys: defaults are those of the reader") {
  const Json plain = Json::parse(testing::ReadConfigText("name: x\n").Resolved());
  const Json full = Json::parse(
      testing::ReadConfigText("name: x\nmodel: {outliers: {}}\nquantize: {activations: {}, "
                              "kv_cache: {}, budget: {}}\n"
                              "accuracy: {stop: {delta_nll_halfwidth: 1}}\n")
          .Resolved());
  size_t checked = 0;
  for (const ConfigKey& key : ConfigKeys()) {
    std::string pointer = "/" + key.name;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    const Json::json_pointer at(pointer);
    const Json& resolved = plain.contains(at) ? plain : full;
    if (key.otherwise.empty() || !resolved.contains(at) || resolved[at].is_object()) continue;
    INFO(key.name);
    if (key.kind == Kind::kNumber) {
      CHECK(std::stod(key.otherwise) == resolved[at].get<double>());
    } else {
      CHECK(key.otherwise == AsYaml(resolved[at]));
    }
    ++checked;
  }
  CHECK(checked > 40);
}

TEST_CASE("config keys: configs/schema.json is what the program prints") {
  const auto file = testing::SourceDir() / "configs/schema.json";
  INFO("run_eval --list schema >configs/schema.json");
  CHECK((ReadFile(file, size_t{1} << 20) == ConfigSchema()));
}

TEST_CASE("config keys: the schema knows each key, and the forms that it may have") {
  const Json schema = Json::parse(ConfigSchema());
  const Json& properties = schema["properties"];
  CHECK(schema["required"] == Json{"name"});
  CHECK(schema["additionalProperties"] == false);
  const Json& model = properties["model"]["anyOf"];  // a name, a map, a list for a study
  CHECK(model[0] == Json{{"type", "string"}});
  CHECK(model[1]["properties"].contains("outliers"));
  CHECK(model[2] == Json{{"type", "array"}, {"items", model[0]}});
  const Json& bits =
      properties["quantize"]["properties"]["weights"]["anyOf"][1]["properties"]["bits"];
  CHECK(bits["anyOf"][0] == Json{{"type", "integer"}, {"minimum", 2}, {"maximum", 8}});
  const Json& entry = properties["quantize"]["properties"]["methods"]["anyOf"][1];
  CHECK(entry["required"] == Json{"method", "label"});
  CHECK(entry["properties"]["gptq"]["$ref"] == "#/properties/quantize/properties/gptq");
  CHECK(properties["throughput"]["anyOf"][0]["enum"] == Json{"none", false, true});
}

TEST_CASE("config keys: --list shows each key, and each config with what it asks") {
  const std::string keys = "\n" + ConfigKeysText(std::nullopt);
  for (const ConfigKey& key : ConfigKeys()) {
    INFO(key.name);
    CHECK(testing::Contains(keys, "\n" + key.name + " "));
    CHECK(!key.about.empty());
  }
  const std::string configs = ConfigsText(std::nullopt);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(ConfigDir())) {
    if (entry.path().extension() != ".yaml") continue;
    const std::string text = ReadFile(entry.path(), size_t{1} << 20);
    INFO(entry.path());
    REQUIRE(text.starts_with("# "));
    CHECK(testing::Contains(configs, entry.path().filename().string()));
    const size_t end = std::min(text.find(".\n"), text.find("?\n"));  // maybe some lines below
    REQUIRE(end < text.find("\nname:"));
    std::string said = text.substr(2, end - 1);
    for (size_t at = 0; (at = said.find("\n# ", at)) != std::string::npos;)
      said.replace(at, 3, " ");
    CHECK(testing::Contains(configs, said));
  }
}

}  // namespace
}  // namespace quantref
