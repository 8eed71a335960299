#include "eval/config/read_quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "eval/config/key_reader.h"
#include "eval/config/parse_method.h"
#include "eval/config/quantize_keys.h"
#include "eval/config/read_activations.h"
#include "eval/config/sections.h"
#include "eval/record/reference.h"
#include "eval/support/nearest.h"
#include "harness/base/error.h"
#include "harness/quant/format.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

// What `group` says of the granularity, by a size or a word.
Granularity ImpliedBy(size_t group) {
  for (size_t i = 0; i < std::size(kGroupWords); ++i) {
    for (const Granularity granularity : kGranularities) {
      const bool named = std::string_view(kGroupWords[i]) == GranularityName(granularity);
      if (named && group == CountOfWord(i)) return granularity;
    }
  }
  return Granularity::kGroup;
}

// What `granularity` and `group` say together, which must not contradict each other.
struct Reach {
  std::optional<Granularity> granularity{};
  std::optional<size_t> group{};
};
Reach TakeReach(const SchemeKeys& keys, YamlReader& yaml) {
  Reach reach;
  for (const Granularity granularity : kGranularities) {
    if (keys.granularity == GranularityName(granularity)) reach.granularity = granularity;
  }
  if (!keys.group) return reach;
  const Granularity implied = ImpliedBy(*keys.group);
  if (reach.granularity && *reach.granularity != implied) {
    const char* const named = GranularityName(*reach.granularity);
    yaml.Fail("group", *reach.granularity == Granularity::kGroup
                           ? fmt::format("a group size, as granularity is {}", named)
                           : fmt::format("no group size beside granularity: {}", named));
  }
  reach.granularity = implied;
  if (implied == Granularity::kGroup) reach.group = keys.group;
  return reach;
}

// What the format decides is nobody else's to say.
void CheckKeysOf(const NumberFormat& format, const SchemeKeys& keys, YamlReader& yaml) {
  const auto none = [&](const char* key) {
    yaml.Fail(key, fmt::format("no such key beside format: {}", format.name));
  };
  if (!format.affine() && keys.symmetric) none("symmetric");
  if (!format.affine() && keys.full_range) none("full_range");
  if (!format.affine() && keys.zero_in_range) none("zero_in_range");
  if (const int own = format.bits(); keys.bits && own > 0 && *keys.bits != static_cast<size_t>(own))
    yaml.Fail("bits", std::to_string(own), fmt::format("codes of {} have as many", format.name));
}

// Blocks that the format is defined for, and no others.
void CheckFixedGroup(const NumberFormat& format, const Reach& reach, YamlReader& yaml) {
  const std::string hint = fmt::format("{} is defined for blocks of {}", format.name, format.group);
  if (!format.fixed_group) return;
  if (reach.granularity && *reach.granularity != Granularity::kGroup)
    yaml.Fail(yaml.Has("group") ? "group" : "granularity",
              yaml.Has("group") ? std::to_string(format.group) : "group", hint);
  if (reach.group && *reach.group != format.group)
    yaml.Fail("group", std::to_string(format.group), hint);
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

// The keys by themselves, beside the format that holds.
Reach CheckScheme(const SchemeKeys& keys, const NumberFormat& format, YamlReader& yaml) {
  CheckKeysOf(format, keys, yaml);
  const Reach reach = TakeReach(keys, yaml);
  CheckFixedGroup(format, reach, yaml);
  CheckDoubleQuant(format, keys.double_quant.value_or(false), yaml);
  return reach;
}

void CheckRanges(bool symmetric, bool full_range, bool zero_in_range, YamlReader& yaml) {
  if (full_range && !symmetric) yaml.Fail("full_range", "false, as symmetric is false");
  if (!zero_in_range && symmetric) yaml.Fail("zero_in_range", "true, as symmetric is true");
}

void TakeWeights(const SchemeKeys& keys, YamlReader yaml, WeightScheme& scheme) {
  const NumberFormat* const format = keys.format ? FindFormat(*keys.format) : scheme.format;
  if (format != scheme.format) scheme = SchemeOf(*format);
  const Reach reach = CheckScheme(keys, *format, yaml);
  if (keys.bits) scheme.bits = static_cast<int>(*keys.bits);
  scheme.granularity = reach.granularity.value_or(scheme.granularity);
  scheme.group = reach.group.value_or(scheme.group);
  scheme.double_quant = keys.double_quant.value_or(scheme.double_quant);
  if (keys.symmetric.value_or(scheme.symmetric) != scheme.symmetric) {
    scheme.symmetric = *keys.symmetric;  // an entry that leaves the section's symmetry
    scheme.full_range = false;
    scheme.zero_in_range = true;
  }
  scheme.full_range = keys.full_range.value_or(scheme.full_range);
  scheme.zero_in_range = keys.zero_in_range.value_or(scheme.zero_in_range);
  CheckRanges(scheme.symmetric, scheme.full_range, scheme.zero_in_range, yaml);
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
  OverrideKeys keys;
  KeyReader reader(yaml);
  VisitOverride(reader, keys);
  yaml.RefuseUnknownKeys();
  if (keys.match.empty()) yaml.Fail("match", "a pattern, like layers.*.mlp.down_proj");
  const SchemeKeys& scheme = keys.scheme;
  const NumberFormat* const format = scheme.format ? FindFormat(*scheme.format) : nullptr;
  const Reach reach = CheckScheme(scheme, format != nullptr ? *format : *weights.format, yaml);
  if (keys.method) KnownRounder(yaml, "method", *keys.method);
  CheckRanges(scheme.symmetric.value_or(weights.symmetric), scheme.full_range.value_or(false),
              scheme.zero_in_range.value_or(true), yaml);
  SchemeOverride entry{
      .match = keys.match,
      .keep = keys.keep.value_or(false),
      .format = format,
      .bits = scheme.bits ? std::optional(static_cast<int>(*scheme.bits)) : std::nullopt,
      .granularity = reach.granularity,
      .group = reach.group,
      .symmetric = scheme.symmetric,
      .full_range = scheme.full_range,
      .zero_in_range = scheme.zero_in_range,
      .double_quant = scheme.double_quant,
      .method = keys.method.value_or("")};
  if (entry.keep &&
      (entry.format != nullptr || entry.bits || entry.granularity || entry.symmetric ||
       entry.full_range || entry.zero_in_range || entry.double_quant || !entry.method.empty())) {
    yaml.Fail("keep", "false, as the entry has values for what it would keep");
  }
  return entry;
}

void ReadKnobs(YamlReader& yaml, CellConfig& cell) {
  for (const Plugin* plugin : AllPlugins()) {
    if (plugin->knobs().empty()) continue;
    Knobs& knobs =
        cell.knobs.try_emplace(std::string(plugin->name()), plugin->knobs()).first->second;
    YamlReader section = yaml.Map(std::string(plugin->name()));
    KeyReader reader(section);
    VisitKnobs(reader, knobs);
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

// A budget chooses the bits of codes: what has them fixed, or says them itself, is not its.
void CheckBudget(YamlReader& yaml, const CellConfig& cell) {
  if (!cell.budget) return;
  const auto refuse = [&](const std::string& problem, const std::string& hint) {
    throw Error(fmt::format("{}: {}", cell.label, problem),
                yaml.Where(yaml.Has("budget") ? "budget" : "methods"), hint);
  };
  constexpr char kNone[] = "give this cell budget: none";
  const NumberFormat& format = *cell.quantize.weights.format;
  const size_t least = cell.budget->choices.front();
  if (cell.budget->choices.size() < 2) {
    refuse(fmt::format("expected choices of two numbers of bits or more, found {} alone", least),
           "without a choice quantize.weights.bits says it");
  }
  if (cell.budget->bits < static_cast<double>(least)) {
    refuse(fmt::format("expected a budget above the least choice, {} bits and what their scales "
                       "take, found {}",
                       least, cell.budget->bits),
           "raise budget.bits, or add a choice of fewer bits");
  }
  if (cell.quantize.none) refuse("a budget beside weights: none, which leaves it nothing", kNone);
  if (cell.training == Training::kFull) refuse("a budget for full, which rounds no weights", kNone);
  if (format.bits() > 0) {
    refuse(fmt::format("a budget of bits for {}, whose codes have {}", format.name, format.bits()),
           "budgets are for formats with bits to choose: int, float_zero");
  }
  for (const SchemeOverride& entry : cell.quantize.overrides) {
    if (!entry.bits && entry.format == nullptr) continue;
    refuse(fmt::format("the budget chooses the bits of '{}', and so does an override (its {})",
                       entry.match, entry.bits ? "bits" : "format"),
           "leave it out, or keep these matrices: an override beside a budget may have keep, "
           "method, group and what else bits leave open");
  }
}

void ReadBudget(YamlReader& yaml, std::optional<BudgetSpec>& budget) {
  if (!yaml.Has("budget")) return;
  KeyReader reader(yaml);
  VisitBudget(reader, budget);
  if (!budget) return;
  std::sort(budget->choices.begin(), budget->choices.end());
}

void ReadLora(YamlReader& yaml, LoraSpec& lora) {
  YamlReader section = yaml.Map("lora");
  KeyReader reader(section);
  VisitLora(reader, lora);
  section.RefuseUnknownKeys();
}

// `weights: none`, or what matrices are rounded to.
void ReadWeights(YamlReader& yaml, QuantizeSpec& spec) {
  if (!yaml.Has("weights")) return;
  std::optional<SchemeKeys> keys;
  KeyReader reader(yaml);
  VisitWeights(reader, keys);
  spec.none = !keys;
  if (keys) return TakeWeights(*keys, yaml.Map("weights"), spec.weights);
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
  ReadWeights(yaml, cell.quantize);
  cell.activations = ReadActivations(yaml, cell.activations);
  cell.kv_cache = ReadKvCache(yaml, cell.kv_cache);
  ReadBudget(yaml, cell.budget);
  KeyReader reader(yaml);
  VisitKeep(reader, cell.quantize.keep);
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
  KeyReader reader(yaml);
  VisitMethod(reader, method, cell.label);
  ParseMethod(yaml, "method", method, cell);
  CheckLabel(yaml, cell.label);
  ReadCell(yaml, cell);
  CheckOwnKeys(yaml, cell, method);
  yaml.RefuseUnknownKeys();
  return cell;
}

}  // namespace

void CheckLabel(YamlReader& yaml, const std::string& label) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("._-+=").find(c) != std::string_view::npos;
  };
  const bool named = std::any_of(label.begin(), label.end(), [](unsigned char c) {
    return std::isalnum(c) != 0;  // and no "..", no "-"
  });
  if (!named || label.size() > 60 || !std::all_of(label.begin(), label.end(), fits)) {
    yaml.Fail("label",
              "up to 60 letters, digits, '.', '_', '-', '+' or '=', a letter or digit among them",
              label.empty() ? "a map's cell has a name: {method: rtn, label: rtn-4}; records and "
                              "exports are named after it"
                            : "records and exports are named after it");
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
    if (cell.quantize.none && (!cell.transforms.empty() || cell.rounder != ToNearest().name() ||
                               !SuffixOf(cell.training).empty())) {
      throw Error(
          fmt::format("'{}' beside weights: none, which leaves it nothing to do", cell.label),
          yaml.Where("methods"), "name the method rtn, and give it a label of its own");
    }
    CheckBudget(yaml, cell);
    CheckKnobs(yaml, cell);
    CheckTransforms(yaml, cell);
    config.cells.push_back(std::move(cell));
  }
  yaml.RefuseUnknownKeys();
}

}  // namespace quantref
