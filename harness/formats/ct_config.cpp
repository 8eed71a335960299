#include "harness/formats/ct_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "harness/base/error.h"
#include "harness/formats/affine_source.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using Strategy = CtArgs::Strategy;

constexpr std::array<std::pair<std::string_view, Strategy>, 6> kStrategies = {
    {{"tensor", Strategy::kTensor},
     {"channel", Strategy::kChannel},
     {"group", Strategy::kGroup},
     {"block", Strategy::kBlock},
     {"token", Strategy::kToken},
     {"tensor_group", Strategy::kTensorGroup}}};

std::vector<std::string> TextsOf(const JsonFields& json, const char* key) {
  std::vector<std::string> texts;
  if (!json.Has(key)) return texts;
  if (!json[key].is_array()) json.Fail(key, "a list of strings");
  for (const Json& item : json[key]) {
    if (!item.is_string()) json.Fail(key, "a list of strings");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

// As compressed-tensors infers it from the size of a group.
Strategy StrategyOf(const JsonFields& json) {
  if (!json.Has("strategy")) {
    if (!json.Has("group_size")) return Strategy::kTensor;
    return json["group_size"] == -1 ? Strategy::kChannel : Strategy::kGroup;
  }
  const std::string name = json.Text("strategy");
  const auto found =
      std::ranges::find(kStrategies, name, &decltype(kStrategies)::value_type::first);
  if (found == kStrategies.end())
    json.Fail("strategy", "tensor, channel, group, block, token or tensor_group");
  return found->second;
}

// Whether groups of inputs are chosen by a calibration that orders them, and not as they stand.
bool IsByIndex(const JsonFields& json) {
  if (!json.Has("actorder")) return false;
  if (json["actorder"].is_boolean()) return json.Flag("actorder");
  const std::string order = json.Text("actorder");
  if (order != "group" && order != "dynamic" && order != "weight" && order != "static")
    json.Fail("actorder", "group, weight, or none");
  return order == "group" || order == "dynamic";
}

void ReadBlock(const JsonFields& json, CtArgs& args) {
  const std::vector<uint64_t> sizes = json.Counts("block_structure");
  if (sizes.size() != 2 || sizes[0] == 0 || sizes[1] == 0 || sizes[0] > kMostGroupInputs ||
      sizes[1] > kMostGroupInputs)
    json.Fail("block_structure", "two sizes, [rows, columns]");
  args.block_rows = sizes[0];
  args.block_cols = sizes[1];
}

CtArgs ReadArgs(const JsonFields& parent, const char* key) {
  const JsonFields json = parent.Object(key);
  RefuseUnknownKeys(
      parent[key], json.where(),
      {"num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic",
       "actorder", "scale_dtype", "zp_dtype", "observer", "observer_kwargs"});
  CtArgs args;
  if (json.Has("num_bits")) args.bits = static_cast<int>(json.Count("num_bits", 1, 8));
  if (json.Has("type")) {
    const std::string type = json.Text("type");
    if (type != "int" && type != "float") json.Fail("type", "int or float");
    args.is_float = type == "float";
  }
  args.symmetric = json.FlagOr("symmetric", true);
  args.strategy = StrategyOf(json);
  if (args.strategy == Strategy::kGroup || args.strategy == Strategy::kTensorGroup)
    args.group = json.Count("group_size", 1, kMostGroupInputs);
  if (args.strategy == Strategy::kBlock) ReadBlock(json, args);
  args.by_index = IsByIndex(json);
  if (json.Has("dynamic")) {
    const bool local = json["dynamic"] == "local";
    args.dynamic = local                  ? CtArgs::Dynamic::kLocal
                   : json.Flag("dynamic") ? CtArgs::Dynamic::kYes
                                          : CtArgs::Dynamic::kNo;
  }
  return args;
}

CtGroup ReadGroup(const ForeignFolder& folder, const std::string& name, const Json& value,
                  const std::string& format) {
  if (value.is_array()) {
    RefuseSetting(folder, fmt::format("the preset {}", Quoted(name)),
                  "save the model with its groups written out");
  }
  const JsonFields json(value, folder.settings_where + ", config_groups, " + name);
  RefuseUnknownKeys(value, json.where(), {"targets", "weights", "input_activations", "format"});
  CtGroup group{name, TextsOf(json, "targets"), json.Has("format") ? json.Text("format") : format,
                ReadArgs(json, "weights"), std::nullopt};
  if (group.weights.dynamic != CtArgs::Dynamic::kNo)
    RefuseSetting(folder, fmt::format("weights that are rounded at run time ({})", name));
  if (json.Has("input_activations")) group.inputs = ReadArgs(json, "input_activations");
  return group;
}

void RefuseSparsity(const ForeignFolder& folder) {
  const JsonFields json = folder.fields();
  if (!json.Has("sparsity_config") || json["sparsity_config"].empty()) return;
  const JsonFields sparsity = json.Object("sparsity_config");
  if (sparsity.Has("format") && sparsity.Text("format") != "dense")
    RefuseSetting(folder, "sparse weights in the format " + Quoted(sparsity.Text("format")));
}

// How exactly a target matches: by its whole name, by an expression, by the class.
enum Match { kNone, kClass, kExpression, kName };

Match MatchOf(const std::string& target, const std::string& module, const std::string& where) {
  constexpr std::string_view kRegex = "re:";
  if (target.starts_with(kRegex))
    return MatchesStart(target.substr(kRegex.size()), module, where) ? kExpression : kNone;
  if (target == module) return kName;
  const bool embedding = module.ends_with("embed_tokens");
  return target == (embedding ? "Embedding" : "Linear") ? kClass : kNone;
}

Match BestMatch(const std::vector<std::string>& targets, const std::string& module,
                const std::string& where) {
  Match best = kNone;
  for (const std::string& target : targets) best = std::max(best, MatchOf(target, module, where));
  return best;
}

}  // namespace

CtConfig ReadCtConfig(const ForeignFolder& folder) {
  const JsonFields json = folder.fields();
  RefuseUnknownKeys(folder.settings, json.where(),
                    {"quant_method", "config_groups", "format", "ignore", "kv_cache_scheme",
                     "quantization_status", "global_compression_ratio", "sparsity_config",
                     "transform_config", "version", "moe_sparsity_config"});
  RefuseRoundedCache(folder);
  RefuseIfSet(folder, "transform_config", "rotations of activations");
  RefuseIfSet(folder, "moe_sparsity_config", "experts");
  RefuseSparsity(folder);
  if (json.Has("quantization_status") && json.Text("quantization_status") != "compressed") {
    RefuseSetting(folder, "weights of the status " + Quoted(json.Text("quantization_status")),
                  "save the model compressed");
  }
  CtConfig config;
  config.format = json.Text("format");
  config.ignore = TextsOf(json, "ignore");
  const JsonFields groups = json.Object("config_groups");
  for (const auto& [name, value] : json["config_groups"].items())
    config.groups.push_back(ReadGroup(folder, name, value, config.format));
  if (config.groups.empty()) json.Fail("config_groups", "one group or more");
  return config;
}

const CtGroup* GroupOf(const CtConfig& config, const std::string& module,
                       const std::string& where) {
  if (BestMatch(config.ignore, module, where) != kNone) return nullptr;
  const CtGroup* found = nullptr;
  Match best = kNone;
  for (const CtGroup& group : config.groups) {
    const Match match = BestMatch(group.targets, module, where);
    if (match == kNone || match < best) continue;
    if (match == best) {
      throw Error(fmt::format("expected one group of config_groups for {}, found {} and {}", module,
                              Quoted(found->name), Quoted(group.name)),
                  where);
    }
    best = match;
    found = &group;
  }
  return found;
}

}  // namespace quantref
