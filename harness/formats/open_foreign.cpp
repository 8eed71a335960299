#include "harness/formats/open_foreign.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <utility>

#include "harness/base/error.h"
#include "harness/io/file.h"
#include "harness/io/json_file.h"
#include "harness/tokenizer/pattern.h"

namespace quantref {
namespace {

using Json = nlohmann::json;

constexpr ForeignTool kTools[] = {
    {"awq", OpenAwq},
    {"bitsandbytes", OpenBitsAndBytes},
    {"compressed-tensors", OpenCompressedTensors},
    {"fp8", OpenFp8},
    {"gptq", OpenGptq},
};

// Files of their own that older versions of two tools write.
constexpr std::array<std::pair<const char*, const char*>, 2> kOwnFiles = {
    {{"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}}};

bool HasKey(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && !found->is_null();
}

bool EqualButForCase(const std::string& a, const std::string& b) {
  return std::ranges::equal(
      a, b, {}, [](unsigned char c) { return std::tolower(c); },
      [](unsigned char c) { return std::tolower(c); });
}

// Takes the settings from the one place that has them; false: the folder has none. `own`, unless
// nullptr, gets the file where it is not config.json.
bool FindSettings(const std::filesystem::path& dir, const Json& config, ForeignFolder& folder,
                  std::optional<InputFile>* own) {
  constexpr char kKey[] = "quantization_config", kText[] = "text_config";
  const std::string config_where = (dir / "config.json").string();
  if (HasKey(config, kKey)) {
    folder.settings = config[kKey];
    folder.settings_where = config_where + ", " + kKey;
    return true;
  }
  if (HasKey(config, kText) && config[kText].is_object() && HasKey(config[kText], kKey)) {
    folder.settings = config[kText][kKey];
    folder.settings_where = config_where + ", " + kText + ", " + kKey;
    return true;
  }
  if (HasKey(config, "compression_config")) {
    throw Error("not supported: settings under the old name compression_config", config_where,
                "rename it to quantization_config");
  }
  for (const auto& [name, method] : kOwnFiles) {
    if (!IsPresent(dir / name)) continue;
    folder.settings_where = (dir / name).string();
    const FileContents file = ReadInput(dir / name, kMaxJsonFileBytes);
    folder.settings = ParseJson(file.bytes, folder.settings_where);
    if (own != nullptr) *own = file.file;
    if (folder.settings.is_object() && !HasKey(folder.settings, "quant_method"))
      folder.settings["quant_method"] = method;
    return true;
  }
  return false;
}

// What a setting is called, by any tool, and whether nothing else in a folder of GPTQ tells its
// value: tensors have the shapes of one number of bits and one group (and of one AWQ version), and
// an order has its g_idx.
struct SettingNames {
  std::vector<std::string> names;
  bool untold = false;
  Json without{};  // what all take where it is not said
};

// Those that decide what is read.
const std::vector<SettingNames>& ReadSettingNames() {
  static const std::vector<SettingNames> names = {
      {{"checkpoint_format", "format", "version"}, true},
      {{"bits", "w_bit"}},
      {{"group_size", "q_group_size"}},
      {{"sym"}},
      {{"desc_act"}, false, false},
      {{"zero_point"}},
      {{"dynamic"}},
      {{"modules_to_not_convert"}},
      {{"pack_dtype"}},
      {{"is_marlin_format"}, false, false},
      {{"adapter"}},
      {{"rotation"}},
      {{"backend"}},
  };
  return names;
}

std::optional<std::string> HeldName(const Json& settings, const SettingNames& setting) {
  const auto held = std::ranges::find_if(
      setting.names, [&](const std::string& name) { return HasKey(settings, name.c_str()); });
  return held == setting.names.end() ? std::nullopt : std::optional(*held);
}

// AutoAWQ writes GEMM into one and gemm into the other.
bool SaysOtherwise(const Json& a, const Json& b) {
  return a != b && !EqualButForCase(a.dump(), b.dump());
}

// A tool's own file that stands beside the settings that hold.
struct OwnFile {
  std::string name;    // "quantize_config.json"
  std::string holder;  // the file of those that hold
  Json settings;
};

// The setting as both files have it: where they differ, what holds is said. What only the tool's
// own file has is taken: it says what was written, and what is silent says nothing.
bool JoinSetting(const OwnFile& own, const SettingNames& setting, ForeignFolder& folder) {
  const std::optional<std::string> held = HeldName(folder.settings, setting);
  const bool untold = setting.untold && folder.settings["quant_method"] == "gptq";
  bool taken = false;
  for (const std::string& name : setting.names) {
    if (!HasKey(own.settings, name.c_str())) continue;
    const Json& value = own.settings[name];
    if (!held) {
      if (value == setting.without) continue;
      folder.settings[name] = value;
      taken = true;
      AddNote(folder.notes,
              fmt::format("{} is {}, from {}: {} does not say it, and programs that read that "
                          "alone take what they do without it",
                          Quoted(name), ShownJson(value), own.name, own.holder),
              1, "");
    } else if (SaysOtherwise(value, folder.settings[*held])) {
      AddNote(folder.notes,
              fmt::format("{} is {} in {}, which some programs read first, and {} {} in {}, which "
                          "holds here",
                          Quoted(name), ShownJson(value), own.name,
                          *held == name ? "is" : Quoted(*held), ShownJson(folder.settings[*held]),
                          own.holder),
              1, "", untold ? NoteGrade::kDoubt : NoteGrade::kTold);
      break;  // by its other names it would say the same
    }
  }
  return taken;
}

FileContents ReadBeside(const std::filesystem::path& path, const std::string& holder, Json& json) {
  const std::string hint = fmt::format(
      "{} has settings, too, but what this says otherwise must be known: mend it, or move it away",
      holder);
  FileContents file = ReadInput(path, kMaxJsonFileBytes);
  try {
    json = ParseJson(file.bytes, path.string());
  } catch (const Error& error) {
    throw Error(error.problem(), error.where(), hint);
  }
  if (!json.is_object())
    throw Error("expected an object of settings, found " + ShownJson(json), path.string(), hint);
  return file;
}

// Compares the settings with those in the tools' own files beside them, which transformers, vLLM
// and AutoAWQ pass by and AutoGPTQ reads first. `used`, unless nullptr, gets a file of which
// something is taken.
void JoinOwnFiles(const std::filesystem::path& dir, ForeignFolder& folder,
                  std::optional<InputFile>* used) {
  if (!folder.settings.is_object()) return;
  const std::string held_in = std::filesystem::path(folder.settings_where).filename().string();
  OwnFile own;
  own.holder = held_in.substr(0, held_in.find(','));
  for (const auto& [name, method] : kOwnFiles) {
    own.name = name;
    if (own.name == own.holder || !IsPresent(dir / name)) continue;
    const FileContents file = ReadBeside(dir / name, own.holder, own.settings);
    const Json said = HasKey(own.settings, "quant_method") ? own.settings["quant_method"] : method;
    const Json held = folder.settings.value("quant_method", Json());
    if (said != held) {
      AddNote(
          folder.notes,
          fmt::format("{}, which some programs read first, is of the method {}; {}, which holds "
                      "here, says {}",
                      name, ShownJson(said), own.holder, ShownJson(held)),
          1, "");
      continue;
    }
    bool taken = false;
    for (const SettingNames& setting : ReadSettingNames())
      taken = JoinSetting(own, setting, folder) || taken;
    if (!taken) continue;
    folder.settings_where += " with " + own.name;
    if (used != nullptr) *used = file.file;
  }
}

MatrixFlag ReadMatrixFlag(const JsonFields& json, const char* key) {
  MatrixFlag flag;
  if (!json.Has(key)) return flag;
  if (!json[key].is_array()) {
    flag.all = json.Flag(key);
    return flag;
  }
  flag.names.emplace();
  for (const Json& name : json[key]) {
    if (!name.is_string()) json.Fail(key, "true, false or a list of matrices");
    flag.names->insert(name.get<std::string>());
  }
  return flag;
}

// What an export of ours says beside the tool's settings.
void ReadOwnKeys(const Json& config, const std::string& where, ForeignFolder& folder) {
  if (!HasKey(config, "quantref")) return;
  const JsonFields own = JsonFields(config, where).Object("quantref");
  folder.full_range = ReadMatrixFlag(own, "full_range");
  folder.zero_in_range = ReadMatrixFlag(own, "zero_in_range");
}

}  // namespace

void RefuseSetting(const ForeignFolder& folder, const std::string& what, const std::string& hint) {
  throw Error("not supported: " + what, folder.settings_where, hint);
}

void RefuseIfSet(const ForeignFolder& folder, const char* key, const std::string& what,
                 const std::string& hint) {
  const JsonFields json = folder.fields();
  if (!json.Has(key) || json[key].empty()) return;
  RefuseSetting(folder, fmt::format("{} ({} {})", what, key, ShownJson(json[key])), hint);
}

void RefuseRoundedCache(const ForeignFolder& folder) {
  RefuseIfSet(folder, "kv_cache_scheme", "a cache of keys and values that is rounded",
              "save the model without it: the cache of a candidate is not rounded here");
}

void RefuseUnknownKeys(const Json& object, const std::string& where,
                       std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_null() || std::ranges::find(known, key) != known.end()) continue;
    throw Error(fmt::format("not supported: {} ({})", Quoted(key), ShownJson(value)), where,
                "what the setting changes is not known here");
  }
}

void NoteUnknownKeys(const Json& object, std::span<const std::string_view> known,
                     std::vector<CountedNote>& notes) {
  if (!object.is_object()) return;
  for (const auto& [key, value] : object.items()) {
    if (value.is_null() || std::ranges::find(known, key) != known.end()) continue;
    AddNote(notes,
            fmt::format("{} ({}), which is not known here and changes nothing of what is measured",
                        Quoted(key), ShownJson(value)),
            1, "");
  }
}

void AddNote(std::vector<CountedNote>& notes, const std::string& what, size_t count,
             const std::string& of, NoteGrade grade) {
  if (count > 0) notes.push_back({what, count, of, grade});
}

void CountOddScales(std::span<const float> scales, std::vector<CountedNote>& notes) {
  const auto below = [](float scale) { return scale < 0; };
  AddScaleNotes(static_cast<size_t>(std::ranges::count(scales, 0.0f)),
                static_cast<size_t>(std::ranges::count_if(scales, below)), notes);
}

void NoteDecoded(std::vector<CountedNote>& notes) {
  AddNote(notes,
          "matrices whose scales, zeros or groups no packed form here holds, decoded by rows", 1,
          "matrices");
}

bool HoldsZeros(const Tensor& tensor) {
  return std::all_of(tensor.data, tensor.data + tensor.bytes,
                     [](std::byte b) { return b == std::byte{0}; });
}

std::vector<std::string> ZeroBiases(const ForeignFolder& folder, std::string_view part,
                                    std::vector<CountedNote>& notes) {
  constexpr std::string_view kBias = ".bias";
  std::vector<std::string> zeros;
  for (const std::string& name : folder.names) {
    if (!name.ends_with(kBias)) continue;
    const std::string module = name.substr(0, name.size() - kBias.size());
    if (folder.find(module + "." + std::string(part)) == nullptr) continue;
    if (HoldsZeros(*folder.find(name))) zeros.push_back(name);
  }
  AddNote(notes, "biases that are 0", zeros.size(), "matrices");
  return zeros;
}

bool MatchesStart(const std::string& expression, const std::string& name,
                  const std::string& where) {
  const std::vector<Span> found = Pattern::Regex(expression, where).FindAll(name);
  return !found.empty() && found.front().begin == 0;
}

std::vector<std::string> ForeignMethods() {
  std::vector<std::string> methods;
  for (const ForeignTool& tool : kTools) methods.emplace_back(tool.quant_method);
  return methods;
}

std::shared_ptr<const ForeignCheckpoint> OpenForeignFolder(ForeignFolder folder) {
  const std::string method = folder.fields().Text("quant_method");
  const auto tool = std::ranges::find(kTools, method, &ForeignTool::quant_method);
  if (tool == std::end(kTools)) {
    RefuseSetting(folder, "checkpoints of the method " + Quoted(method),
                  fmt::format("methods that are read: {}, and GGUF files",
                              fmt::join(ForeignMethods(), ", ")));
  }
  return tool->open(std::move(folder));
}

bool SaysForeign(const std::filesystem::path& dir) {
  try {
    if (Checkpoint::FindGguf(dir)) return false;
    const Json config = ReadJsonFile(dir / "config.json");
    ForeignFolder folder;
    return config.is_object() && FindSettings(dir, config, folder, nullptr);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error&) {
    return false;
  }
}

std::shared_ptr<const ForeignCheckpoint> OpenForeign(const std::filesystem::path& dir,
                                                     std::shared_ptr<const Checkpoint> checkpoint,
                                                     std::optional<InputFile>* settings) {
  constexpr char kAdapter[] = "adapter_config.json";
  if (IsPresent(dir / kAdapter)) {
    throw Error("not supported: an adapter beside the weights", (dir / kAdapter).string(),
                "merge it into them, or move it away to judge the weights alone");
  }
  if (checkpoint->gguf() != nullptr) return nullptr;
  const Json config = ReadJsonFile(dir / "config.json");
  if (!config.is_object()) return nullptr;  // the model's own reader says what is wrong
  ForeignFolder folder;
  if (!FindSettings(dir, config, folder, settings)) return nullptr;
  JoinOwnFiles(dir, folder, settings);
  ReadOwnKeys(config, (dir / "config.json").string(), folder);
  folder.where = dir.string();
  folder.names = checkpoint->names();
  folder.find = [checkpoint = std::move(checkpoint)](std::string_view name) {
    return checkpoint->Find(name);
  };
  return OpenForeignFolder(std::move(folder));
}

}  // namespace quantref
