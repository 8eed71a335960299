#include "eval/support/resources.h"

#include <algorithm>

#include "eval/support/nearest.h"
#include "harness/base/error.h"

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

fs::path FindModel(const std::string& name_or_path) {
  const std::vector<std::string> bundled = BundledModels();
  if (std::find(bundled.begin(), bundled.end(), name_or_path) != bundled.end()) {
    return Resource("reference", "harness/reference") / name_or_path;
  }
  std::error_code ignored;  // a name too long for the file system is no folder either
  if (fs::is_directory(name_or_path, ignored)) return name_or_path;
  throw Error("no bundled model and no folder of this name" + DidYouMean(name_or_path, bundled),
              "model: " + name_or_path,
              "a model folder holds config.json, *.safetensors and tokenizer.model");
}

}  // namespace quantref
