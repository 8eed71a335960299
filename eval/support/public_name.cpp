#include "eval/support/public_name.h"

#include <filesystem>
#include <system_error>

namespace quantref {
namespace {

namespace fs = std::filesystem;

// "a/b/" ends with b, "." with nothing.
std::string LastPart(const fs::path& path) {
  const fs::path plain = path.lexically_normal();
  const fs::path last = plain.has_filename() ? plain.filename() : plain.parent_path().filename();
  return last == "." || last == ".." ? "" : last.string();
}

}  // namespace

std::string PublicName(const std::string& name_or_path) {
  const bool here = name_or_path == "." || name_or_path == "..";
  if (!here && name_or_path.find('/') == std::string::npos) return name_or_path;
  std::string last = LastPart(name_or_path);
  if (!last.empty()) return last;
  std::error_code error;  // then it is no path of this machine
  last = LastPart(fs::absolute(name_or_path, error));
  return last.empty() ? name_or_path : last;
}

std::string TextName(const std::string& dataset, const std::string& split) {
  return split.empty() ? dataset : dataset + " " + split;
}

}  // namespace quantref
