#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "harness/io/file_pieces.h"
#include "harness/io/mapped_file.h"

namespace quantref {

// A file that outlives a run for --resume: what kind it is (8 characters), the key of all that it
// depends on, a payload, and SHA-256 of all before. Key and hash are 64 hexadecimal digits.

// The payload, as a part of `file`. Nothing where the file is not whole, of another kind, or of
// another key.
std::optional<std::string_view> KeptPayload(const MappedFile& file, std::string_view kind,
                                            std::string_view key);

// Writes one over any other; `payload` gives its pieces to the sink.
void WriteKeptFile(const std::filesystem::path& path, std::string_view kind, std::string_view key,
                   const std::function<void(const ByteSink& sink)>& payload);

}  // namespace quantref
