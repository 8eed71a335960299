#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace quantref {

// Makes a baseline: a file that lists the newest record of each cell of these records and folders,
// the later path's of the same second, each record's text as it is. Replaces a baseline, but no
// other file. Returns what it did, as a line.
std::string WriteBaseline(const std::filesystem::path& file, std::span<const std::string> records,
                          size_t threads);

}  // namespace quantref
