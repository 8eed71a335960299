#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

namespace quantref {

// WriteFileAtomically (file.h) of contents too large to hold at once: `write` gives them to the
// sink piece by piece.
using ByteSink = std::function<void(std::string_view bytes)>;
void WriteFileAtomically(const std::filesystem::path& name,
                         const std::function<void(const ByteSink& sink)>& write, bool may_replace);

}  // namespace quantref
