#include "eval/run/keep_records.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "eval/support/say.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// Among the temporary files, or where the program was started.
fs::path NewFolder() {
  std::error_code error;
  std::string path;
  for (const fs::path& base : {fs::temp_directory_path(error), fs::path(".")}) {
    path = (base / "quantref-records-XXXXXX").string();
    if (mkdtemp(path.data()) != nullptr) return path;
  }
  throw std::system_error(errno, std::generic_category(), path);
}

}  // namespace

void KeepRecords(std::span<const Record> records, const fs::path& folder, bool quiet) {
  if (records.empty()) return;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    const fs::path other = NewFolder();
    WriteRecords(records, other);
    throw Error(fmt::format("it was removed while the run was at work and cannot be made again: {}",
                            error.message()),
                folder.string(), fmt::format("the records are in {}", other.string()));
  }
  for (const fs::path& path : WriteRecords(records, folder)) {
    if (!quiet) Say("record: {}\n", path.string());
  }
}

}  // namespace quantref
