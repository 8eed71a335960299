#include "eval/config/read_quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "eval/config/key_reader.h"
#include "eval/config/parse_method.h"
#include "eval/config/read_activations.h"
#include "eval/config/sections.h"
#include "eval/record/reference.h"
#include "eval/support/nearest.h"
#include "harness/base/error.h"
#include "harness/quant/format.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

Granularity ParseGranularity(const std::string& name) {
  const std::vector<std::string>& names = GranularityNames();
  return static_cast<Granularity>(std::find(names.begin(), names.end(), name) - names.begin());
}

// `group: N` or `group: row` (also 0) and `granularity`, which must not contradict each other.
void ReadReach(YamlReader& yaml, std::optional<Granularity>& granularity,
               std::optional<size_t>& group) {
  if (yaml.Has("granularity"))
    granularity = ParseGranularity(yaml.Choice("granularity", GranularityNames(), ""));
  if (!yaml.Has("group")) return;
  const std::string text = yaml.Scalar("group", "a group size or 'row'");
  if (text.find_first_not_of("0123456789") != std::string::npos && text != "row")
    yaml.Fail("group", "a group size or 'row'");
  if (text == "row" || text == "0") {
    if (granularity && granularity != Granularity::kRow)
      yaml.Fail("group", "a group size, as granularity is not 'row'");
    granularity = Granularity::kRow;
    return;
  }
  if (granularity && granularity != Granularity::kGroup) {
    yaml.Fail("group",
              fmt::format("no group size beside granularity: {}", GranularityName(*granularity)));
  }
  size_t size = 0;
  yaml.Set("group", size, 1, kMostGroup);
  group = size;
  granularity = Granularity::kGroup;
}

// The format that the key names; nullptr: none.
const NumberFormat* ReadFormat(YamlReader& yaml) {
  if (!yaml.Has("format")) return nullptr;
  std::vector<std::string> names;
  for (const NumberFormat* format : NumberFormats()) names.emplace_back(format->name);
  return FindFormat(yaml.Choice("format", names, ""));
}

// What the format decides is nobody else's to say.
void CheckKeysOf(const NumberFormat& format, YamlReader& yaml) {
  if (format.affine()) return;
  for (const char* key : {"symmetric", "full_range", "zero_in_range"}) {
    if (yaml.Has(key)) yaml.Fail(key, fmt::format("no such key beside format: {}", format.name));
  }
}

// Blocks that the format is defined for, and no others.
void CheckFixedGroup(const NumberFormat& format, const std::optional<Granularity>& granularity,
                     const std::optional<size_t>& group, YamlReader& yaml) {
  const std::string hint = fmt::format("{} is defined for blocks of {}", format.name, format.group);
  if (!format.fixed_group) return;
  if (granularity && *granularity != Granularity::kGroup)
    yaml.Fail(yaml.Has("group") ? "group" : "granularity",
              yaml.Has("group") ? std::to_string(format.group) : "group", hint);
  if (group && *group != format.group) yaml.Fail("group", std::to_string(format.group), hint);
}

void CheckDoubleQuant(const NumberFormat& format, bool double_quant, YamlReader& yaml) {
  if (!double_quant || format.allows_double_quant()) return;
  std::vector<std::string> allowed;
  for (const NumberFormat* other : NumberFormats()) {
    if (other->allows_double_quant()) allowed.emplace_back(other->name);
  }
  yaml.Fail("double_quant", fmt::format("false beside format: {}", format.name),
            fmt::format("it quantizes FP32 scales: {}", fmt::join(allowed, ", ")));
}

struct BitLimits {
  int least, most;
};
BitLimits BitsOf(const NumberFormat& format) {
  if (format.bits() > 0) return {format.bits(), format.bits()};
  return {kMinBits, kMaxBits};
}

void ReadWeights(YamlReader yaml, WeightScheme& scheme) {
  const NumberFormat* format = ReadFormat(yaml);
  if (format != nullptr && format != scheme.format) scheme = SchemeOf(*format);
  CheckKeysOf(*scheme.format, yaml);
  const BitLimits bits = BitsOf(*scheme.format);
  yaml.Set("bits", scheme.bits, bits.least, bits.most);
  std::optional<Granularity> granularity;
  std::optional<size_t> group;
  ReadReach(yaml, granularity, group);
  CheckFixedGroup(*scheme.format, granularity, group, yaml);
  scheme.granularity = granularity.value_or(scheme.granularity);
  scheme.group = group.value_or(scheme.group);
  yaml.Set("double_quant", scheme.double_quant);
  CheckDoubleQuant(*scheme.format, scheme.double_quant, yaml);
  const bool before = scheme.symmetric;
  yaml.Set("symmetric", scheme.symmetric);
  if (scheme.symmetric != before) {  // an entry that leaves the section's symmetry
    scheme.full_range = false;
    scheme.zero_in_range = true;
  }
  yaml.Set("full_range", scheme.full_range);
  yaml.Set("zero_in_range", scheme.zero_in_range);
  yaml.RefuseUnknownKeys();
  if (scheme.full_range && !scheme.symmetric)
    yaml.Fail("full_range", "false, as symmetric is false");
  if (!scheme.zero_in_range && scheme.symmetric)
    yaml.Fail("zero_in_range", "true, as symmetric is true");
}

template <typename T, typename... Limits>
void ReadOptional(YamlReader& yaml, const char* key, std::optional<T>& value, Limits... limits) {
  if (!yaml.Has(key)) return;
  T read{};
  yaml.Set(key, read, limits...);
  value = read;
}

std::string KnownRounder(YamlReader& yaml, const std::string& key, const std::string& name) {
  if (FindRounder(name) != nullptr) return name;
  std::vector<std::string> known;
  for (const Rounder* rounder : Rounders()) known.emplace_back(rounder->name());
  throw Error(fmt::format("unknown rounder '{}'{}", name, DidYouMean(name, known)),
              yaml.Where(key));
}

// `weights`: the general scheme, which holds where the entry says nothing.
SchemeOverride ReadOverride(YamlReader yaml, const WeightScheme& weights) {
  SchemeOverride entry;
  yaml.Set("match", entry.match);
  if (entry.match.empty()) yaml.Fail("match", "a pattern, like layers.*.mlp.down_proj");
  yaml.Set("keep", entry.keep);
  entry.format = ReadFormat(yaml);
  const NumberFormat& format = entry.format != nullptr ? *entry.format : *weights.format;
  CheckKeysOf(format, yaml);
  const BitLimits bits = BitsOf(format);
  ReadOptional(yaml, "bits", entry.bits, bits.least, bits.most);
  ReadReach(yaml, entry.granularity, entry.group);
  CheckFixedGroup(format, entry.granularity, entry.group, yaml);
  ReadOptional(yaml, "double_quant", entry.double_quant);
  CheckDoubleQuant(format, entry.double_quant.value_or(false), yaml);
  ReadOptional(yaml, "symmetric", entry.symmetric);
  ReadOptional(yaml, "full_range", entry.full_range);
  ReadOptional(yaml, "zero_in_range", entry.zero_in_range);
  yaml.Set("method", entry.method);
  if (!entry.method.empty()) KnownRounder(yaml, "method", entry.method);
  yaml.RefuseUnknownKeys();
  const bool symmetric = entry.symmetric.value_or(weights.symmetric);
  if (entry.full_range.value_or(false) && !symmetric)
    yaml.Fail("full_range", "false, as symmetric is false");
  if (!entry.zero_in_range.value_or(true) && symmetric)
    yaml.Fail("zero_in_range", "true, as symmetric is true");
  if (entry.keep &&
      (entry.format != nullptr || entry.bits || entry.granularity || entry.symmetric ||
       entry.full_range || entry.zero_in_range || entry.double_quant || !entry.method.empty())) {
    yaml.Fail("keep", "false, as the entry has values for what it would keep");
  }
  return entry;
}

void ReadKnob(YamlReader& yaml, const Knob& knob, Knobs& knobs) {
  const std::string key(knob.name);
  if (!yaml.Has(key)) return;
  if (knob.kind == Knob::Kind::kFlag) {
    bool flag = false;
    yaml.Set(key, flag);
    knobs.Set(knob.name, flag ? 1 : 0);
  } else if (knob.kind == Knob::Kind::kCount) {
    size_t count = 0;
    yaml.Set(key, count, static_cast<size_t>(knob.least), static_cast<size_t>(knob.most));
    knobs.Set(knob.name, static_cast<double>(count));
  } else {
    double value = 0;
    yaml.Set(key, value);
    if (value < knob.least || value > knob.most)
      yaml.Fail(key, fmt::format("a number from {} to {}", knob.least, knob.most));
    knobs.Set(knob.name, value);
  }
}

void ReadKnobs(YamlReader& yaml, CellConfig& cell) {
  for (const Plugin* plugin : AllPlugins()) {
    if (plugin->knobs().empty()) continue;
    Knobs& knobs =
        cell.knobs.try_emplace(std::string(plugin->name()), plugin->knobs()).first->second;
    YamlReader section = yaml.Map(std::string(plugin->name()));
    for (const Knob& knob : plugin->knobs()) ReadKnob(section, knob, knobs);
    section.RefuseUnknownKeys();
  }
}

// Overrides that a cell has from the section, beside weights of its own.
void CheckInherited(const YamlReader& yaml, const QuantizeSpec& spec) {
  for (const SchemeOverride& entry : spec.overrides) {
    const bool symmetric = entry.symmetric.value_or(spec.weights.symmetric);
    const bool full = !symmetric && entry.full_range.value_or(false);
    if (!full && !(symmetric && !entry.zero_in_range.value_or(true))) continue;
    throw Error(fmt::format("symmetric: {}, but the section's override of '{}' sets {}", symmetric,
                            entry.match, full ? "full_range" : "zero_in_range: false"),
                yaml.Where("weights"), "give the entry overrides of its own");
  }
}

std::optional<KvScheme> ReadKvCache(YamlReader& yaml, std::optional<KvScheme> scheme) {
  if (!yaml.Has("kv_cache")) return scheme;
  KeyReader reader(yaml);
  VisitKvCache(reader, scheme);
  if (!scheme) return scheme;
  YamlReader section = yaml.Map("kv_cache");
  const bool by_channel = scheme->keys == KvReach::kChannel;
  if (scheme->group % kKvBlock != 0)
    section.Fail("group", fmt::format("a multiple of {}", kKvBlock),
                 "codes are held in such blocks");
  if (by_channel && scheme->group == 0)
    section.Fail("group", "a number of tokens, as keys is channel");
  if (by_channel && scheme->residual % scheme->group != 0) {
    section.Fail("residual",
                 fmt::format("a multiple of group ({}), as keys is channel", scheme->group),
                 "so many keys wait and are then rounded at once, group by group");
  }
  if (section.Has("group") && scheme->keys == KvReach::kHead && scheme->values == KvReach::kHead)
    section.Fail("group", "no group, as keys and values are head");
  return scheme;
}

void ReadLora(YamlReader& yaml, LoraSpec& lora) {
  YamlReader section = yaml.Map("lora");
  KeyReader reader(section);
  VisitLora(reader, lora);
  section.RefuseUnknownKeys();
}

// `weights: none`, or what matrices are rounded to.
void ReadWeightsOrNone(YamlReader& yaml, CellConfig& cell) {
  QuantizeSpec& spec = cell.quantize;
  if (!yaml.Has("weights") || yaml.IsMap("weights")) {
    spec.none = spec.none && !yaml.Has("weights");
    return ReadWeights(yaml.Map("weights"), spec.weights);
  }
  yaml.Choice("weights", {"none"}, "none");
  spec.none = true;
  spec.overrides.clear();
}

// Nothing is left to what acts on quantized matrices.
void CheckNone(YamlReader& yaml, const CellConfig& cell) {
  if (!cell.quantize.none) return;
  constexpr char kHint[] = "of weights: none no matrix is quantized";
  if (!cell.quantize.overrides.empty()) yaml.Fail("overrides", "no overrides", kHint);
  if (cell.activations) yaml.Fail("activations", "none", kHint);
}

// What both the `quantize` section and an entry of its methods may hold.
void ReadCell(YamlReader& yaml, CellConfig& cell) {
  ReadWeightsOrNone(yaml, cell);
  cell.activations = ReadActivations(yaml, cell.activations);
  cell.kv_cache = ReadKvCache(yaml, cell.kv_cache);
  yaml.Set("keep", cell.quantize.keep);
  if (yaml.Has("overrides")) {
    cell.quantize.overrides.clear();
  } else {
    CheckInherited(yaml, cell.quantize);
  }
  for (YamlReader& entry : yaml.Maps("overrides"))
    cell.quantize.overrides.push_back(ReadOverride(entry, cell.quantize.weights));
  CheckNone(yaml, cell);
  ReadKnobs(yaml, cell);
  ReadLora(yaml, cell.lora);
}

bool Uses(const CellConfig& cell, std::string_view name) {
  const auto& before = cell.transforms;
  return cell.rounder == name || std::find(before.begin(), before.end(), name) != before.end() ||
         std::any_of(cell.quantize.overrides.begin(), cell.quantize.overrides.end(),
                     [&](const SchemeOverride& entry) { return entry.method == name; });
}

// An entry's own keys that its method does not read would look like a setting that costs nothing.
void CheckOwnKeys(YamlReader& yaml, const CellConfig& cell, const std::string& method) {
  for (const Plugin* plugin : AllPlugins()) {
    const std::string name(plugin->name());
    if (yaml.Has(name) && !Uses(cell, name))
      yaml.Fail(name, fmt::format("nothing, as {} does not read it", method));
  }
  if (cell.training != Training::kLora && yaml.Has("lora"))
    yaml.Fail("lora", fmt::format("nothing, as {} does not read it", method));
  if (cell.training == Training::kFull && yaml.IsMap("weights"))
    yaml.Fail("weights", "nothing, as full rounds no weights");
}

// Nor would what goes with a flag that is not set.
void CheckKnobs(YamlReader& yaml, const CellConfig& cell) {
  for (const auto& [plugin, knobs] : cell.knobs) {
    for (const Knob& knob : knobs.declared()) {
      if (!Uses(cell, plugin) || !knobs.DoesNothing(knob)) continue;
      throw Error(
          fmt::format("{}.{} does nothing in {} without {}.{}", plugin, knob.name, cell.label,
                      plugin, knob.with),
          yaml.Where("methods"),
          fmt::format("set {0}.{1}: true, or leave {0}.{2} out", plugin, knob.with, knob.name));
    }
  }
}

// An entry is a method's name, or a map with `method`, `label` and whatever differs from the
// section.
CellConfig ReadMethod(const YamlEntry& entry, YamlReader& section, const CellConfig& general) {
  CellConfig cell = general;
  if (entry.text) {
    cell.label = *entry.text;
    ParseMethod(section, "methods", *entry.text, cell);
    return cell;
  }
  YamlReader yaml = *entry.map;
  std::string method;
  yaml.Set("method", method);
  ParseMethod(yaml, "method", method, cell);
  yaml.Set("label", cell.label);
  CheckLabel(yaml, cell.label);
  ReadCell(yaml, cell);
  CheckOwnKeys(yaml, cell, method);
  yaml.RefuseUnknownKeys();
  return cell;
}

}  // namespace

const std::vector<std::string>& GranularityNames() {
  static const std::vector<std::string> names = {"tensor", "row", "column", "group"};
  return names;
}

void CheckLabel(YamlReader& yaml, const std::string& label) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("._-+=").find(c) != std::string_view::npos;
  };
  if (label.empty() || label.size() > 60 || !std::all_of(label.begin(), label.end(), fits)) {
    yaml.Fail("label", "up to 60 letters, digits, '.', '_', '-', '+' or '='",
              "records are named after it");
  }
}

void ReadQuantize(YamlReader yaml, RunConfig& config) {
  ReadCell(yaml, config.general);
  for (const YamlEntry& entry : yaml.Entries("methods")) {
    CellConfig cell = ReadMethod(entry, yaml, config.general);
    for (const CellConfig& other : config.cells) {
      if (other.label != cell.label) continue;
      throw Error(fmt::format("the method '{}' stands twice", cell.label), yaml.Where("methods"),
                  "give one a label of its own: {method: ..., label: ...}");
    }
    if (MeansReference(cell.label)) {
      throw Error(fmt::format("'{}' is the reference and cannot be a label", cell.label),
                  yaml.Where("methods"));
    }
    if (cell.quantize.none &&
        (!cell.transforms.empty() || cell.rounder != "rtn" || !SuffixOf(cell.training).empty())) {
      throw Error(
          fmt::format("'{}' beside weights: none, which leaves it nothing to do", cell.label),
          yaml.Where("methods"), "name the method rtn, and give it a label of its own");
    }
    CheckKnobs(yaml, cell);
    config.cells.push_back(std::move(cell));
  }
  yaml.RefuseUnknownKeys();
}

}  // namespace quantref
