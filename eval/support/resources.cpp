#include "eval/support/resources.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "eval/support/nearest.h"
#include "harness/base/error.h"
#include "harness/io/gguf_parts.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// `installed` below <prefix>/share/quantref, or `in_sources` below the source folder this was built
// from.
fs::path Resource(const char* installed, const char* in_sources) {
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  const fs::path shared = program.parent_path().parent_path() / "share/quantref" / installed;
  if (fs::is_directory(shared, ignored)) return shared;
  const fs::path sources = fs::path(QUANTREF_SOURCE_DIR) / in_sources;
  if (fs::is_directory(sources, ignored)) return sources;
  throw Error("the files that come with QuantRef are missing; looked in " + shared.string() +
                  " and " + sources.string(),
              program.string(), "install with cmake --install, or keep the source folder");
}

}  // namespace

fs::path SampleDir() { return Resource("sample", "eval/sample"); }

fs::path ConfigDir() { return Resource("configs", "configs"); }

std::vector<std::string> BundledModels() {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(Resource("reference", "harness/reference"))) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

fs::path CacheDir() {
  const auto variable = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  // The XDG specification has relative paths ignored.
  const fs::path cache = variable("XDG_CACHE_HOME"), home = variable("HOME");
  if (cache.is_absolute()) return cache / "quantref";
  return home.empty() ? fs::path() : home / ".cache" / "quantref";
}

bool FetchableModel::IsThere() const {
  std::error_code error;
  return !path.empty() && fs::file_size(path, error) == bytes && !error;
}

std::vector<FetchableModel> FetchableModels() {
  const nlohmann::json list =
      ReadJsonFile(Resource("reference", "harness/reference") / "fetchable.json");
  const fs::path cache = CacheDir();
  std::vector<FetchableModel> models;
  for (const auto& item : list.items()) {
    const std::string& name = item.key();
    const nlohmann::json& entry = item.value();
    const auto text = [&](const char* key) { return entry.at(key).get<std::string>(); };
    models.push_back({name, text("about"), text("licence"),
                      cache.empty() ? cache : cache / "models" / name / text("file"),
                      entry.at("bytes").get<uint64_t>()});
  }
  return models;
}

fs::path FindModel(const std::string& name_or_path, const std::string& key) {
  std::vector<std::string> names = BundledModels();
  if (std::find(names.begin(), names.end(), name_or_path) != names.end()) {
    return Resource("reference", "harness/reference") / name_or_path;
  }
  std::string hint =
      "a model is a folder with config.json, *.safetensors and a tokenizer, or a .gguf file";
  for (const FetchableModel& model : FetchableModels()) {
    names.push_back(model.name);
    if (model.name != name_or_path) continue;
    if (model.IsThere()) return model.path;
    hint = "scripts/fetch_model " + model.name + " downloads it, " +
           std::to_string(model.bytes / 1'000'000) + " MB, to " + model.path.string();
  }
  std::error_code ignored;  // a name too long for the file system is no file either
  if (fs::is_directory(name_or_path, ignored)) return name_or_path;
  if (fs::exists(name_or_path, ignored)) {
    if (fs::path(name_or_path).extension() == kGgufSuffix) return name_or_path;
    throw Error("expected a folder or a file whose name ends in .gguf, found another file",
                key + ": " + name_or_path, hint + "; of a file in one give the folder");
  }
  const bool fetchable = std::find(names.begin(), names.end(), name_or_path) != names.end();
  throw Error(fetchable ? "the model is not there yet"
                        : "no bundled model, no folder and no .gguf file of this name" +
                              DidYouMean(name_or_path, names),
              key + ": " + name_or_path, hint);
}

}  // namespace quantref
