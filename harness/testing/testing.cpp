#include "harness/testing/testing.h"

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <system_error>

namespace quantref::testing {

namespace fs = std::filesystem;

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "quantref-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw std::system_error(errno, std::generic_category(), "mkdtemp " + pattern);
  }
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;  // a leftover folder must not hide the failure that left it
  fs::remove_all(path_, ignored);
}

void WriteFile(const fs::path& path, std::string_view contents) {
  if (path.has_parent_path()) fs::create_directories(path.parent_path());
  fs::remove(path);  // some file systems sync a file that was truncated and written anew: 4 ms each
  std::ofstream file(path, std::ios::binary);
  file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  file.close();
  INFO("writing " << path);
  REQUIRE(file.good());
}

std::string FileText(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  INFO("reading " << path);
  REQUIRE(file.good());
  return text;
}

fs::path SourceDir() { return QUANTREF_SOURCE_DIR; }

fs::path ReferenceModel(std::string_view name) {
  return SourceDir() / "harness" / "reference" / name;
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string MissingPart(std::string_view message, std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts) {
    if (message.find(part) == std::string_view::npos) return std::string(part);
  }
  return {};
}

}  // namespace quantref::testing
