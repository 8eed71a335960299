#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace quantref {

// What often lies under the name of another kind of file.
struct ForeignFile {
  std::string what;  // "a Git LFS pointer to the file"
  std::string hint;
};

// Recognizes a file's contents by how they begin; none for what it does not know.
std::optional<ForeignFile> RecognizeForeign(std::string_view contents);

// Throws Error where RecognizeForeign knows it: "expected <expected>, found ...".
void RefuseForeign(std::string_view contents, std::string_view expected, const std::string& where);

}  // namespace quantref
