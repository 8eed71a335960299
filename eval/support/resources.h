#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace quantref {

// The files that come with the program, beside it where it is installed (<prefix>/share/quantref),
// else in its sources.
std::filesystem::path SampleDir();
std::filesystem::path ConfigDir();

// A bundled model's name ("wikilm-28m") or a folder's path, as a folder. Throws Error naming the
// bundled models where it is neither.
std::filesystem::path FindModel(const std::string& name_or_path);
std::vector<std::string> BundledModels();

}  // namespace quantref
