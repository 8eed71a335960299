#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace quantref {

// The files that come with the program, beside it where it is installed (<prefix>/share/quantref),
// else in its sources.
std::filesystem::path SampleDir();
std::filesystem::path ConfigDir();

// Where downloads are kept: $XDG_CACHE_HOME/quantref or ~/.cache/quantref; "" without a home.
std::filesystem::path CacheDir();

// A bundled model's name ("wikilm-28m") as its folder, the name of one that was fetched
// ("smollm2-135m") as its file in the cache, or the path of a folder or a GGUF file. Throws Error
// naming the models that there are where it is none of these, and saying how to fetch one that can
// be. `key`: of the config that has the name.
std::filesystem::path FindModel(const std::string& name_or_path, const std::string& key = "model");
std::vector<std::string> BundledModels();

// A model that scripts/fetch_model downloads, from harness/reference/fetchable.json.
struct FetchableModel {
  std::string name, about, licence;
  std::filesystem::path path;  // where it is looked for; "" without a home
  uint64_t bytes;

  bool IsThere() const;  // in its size
};
std::vector<FetchableModel> FetchableModels();

}  // namespace quantref
