#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace quantref {

// The whole file or pipe. Error if it cannot be read, is a folder, or holds more than max_bytes.
// Waiting for a pipe's writer may be cancelled (base/cancel.h).
std::string ReadFile(const std::filesystem::path& path, size_t max_bytes);

// Writes the whole file or nothing: at any moment, also after a crash, `name` is either what it was
// or complete. The contents are on the disk when this returns. If may_replace is false, an existing
// file is never touched, even one that appears during the call: Error; if it is true, what a
// symbolic link leads to is written, and the link stays. The temporary file stands in the same
// folder and is removed on every failure; one whose process was killed, by who next writes there on
// the same machine. Processes that write must ignore SIGXFSZ, or a file size
// limit kills them instead of giving an Error.
void WriteFileAtomically(const std::filesystem::path& name, std::string_view contents,
                         bool may_replace);

// A link whose target is missing counts as present: then opening it says what is wrong.
bool IsPresent(const std::filesystem::path& path);

}  // namespace quantref
