#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/gguf.h"

namespace quantref {

inline constexpr char kGgufSuffix[] = ".gguf";

// The files of the model that one of them stands for: itself, or where it is called
// NAME-00001-of-0000N.gguf all N, in order.
std::vector<std::filesystem::path> GgufParts(const std::filesystem::path& path);

// Opens them. Error where one is missing, or where their keys (split.no, split.count,
// split.tensors.count) say otherwise.
std::vector<GgufFile> OpenGgufParts(const std::filesystem::path& path);

// Of the names of a folder's files: the path of its GGUF model, of a split one the first part;
// nothing where it has none. Error where it has several.
std::optional<std::filesystem::path> OneGgufModel(const std::filesystem::path& dir,
                                                  const std::vector<std::string>& names);

}  // namespace quantref
