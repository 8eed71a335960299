#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace quantref {

// The files that a pattern names, sorted. In it, below `folder` unless it is absolute, * and ?
// stand for parts of a name, ** for any folders. A folder stands for every record in it and its
// subfolders (IsRecordName). Nothing hidden matches. Error where the pattern names none.
std::vector<std::filesystem::path> MatchFiles(const std::filesystem::path& folder,
                                              const std::string& pattern);

// Those that any of the patterns names, each once, sorted.
std::vector<std::filesystem::path> MatchFiles(const std::filesystem::path& folder,
                                              const std::vector<std::string>& patterns);

// What names of files end with that hold the anatomy of a model's weights (run_eval --weights) and
// stand beside records.
inline constexpr char kAnatomyEnd[] = ".weights.json";

// Whether a file of this name is a record where those of a folder are wanted: any *.json that is
// not hidden and no anatomy.
bool IsRecordName(const std::filesystem::path& path);

// Of files and folders whose name begins with a dot.
bool IsHidden(const std::filesystem::path& path);

}  // namespace quantref
