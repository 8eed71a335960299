#include "eval/support/files.h"

#include <fnmatch.h>

#include <algorithm>
#include <iterator>
#include <system_error>

#include "harness/base/error.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Parts = std::vector<std::string>;

bool HasWildcard(const std::string& name) { return name.find_first_of("*?[") != std::string::npos; }

std::vector<fs::path> Visible(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (!IsHidden(entry->path())) entries.push_back(entry->path());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    throw Error("cannot be read: " + error.message(), folder.string());
  return entries;
}

bool IsFolder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// Adds what parts[at..] name below `base`.
void Match(const fs::path& base, const Parts& parts, size_t at, std::vector<fs::path>& files) {
  if (at == parts.size()) {
    std::error_code error;
    if (IsFolder(base)) {
      std::vector<fs::path> all;
      Match(base, {"**", "*.json"}, 0, all);
      std::copy_if(all.begin(), all.end(), std::back_inserter(files), IsRecordName);
    } else if (fs::exists(base, error)) {
      files.push_back(base);
    }
    return;
  }
  const bool last = at + 1 == parts.size();
  if (parts[at] == "**") {
    Match(base, parts, at + 1, files);
    for (const fs::path& entry : Visible(base)) {
      // A link to a folder above would never end.
      if (IsFolder(entry) && !fs::is_symlink(entry)) Match(entry, parts, at, files);
    }
  } else if (!HasWildcard(parts[at])) {
    Match(base / parts[at], parts, at + 1, files);
  } else {
    for (const fs::path& entry : Visible(base)) {
      if (IsFolder(entry) == last) continue;
      if (fnmatch(parts[at].c_str(), entry.filename().c_str(), 0) == 0)
        Match(entry, parts, at + 1, files);
    }
  }
}

}  // namespace

bool IsRecordName(const fs::path& path) {
  return path.extension() == ".json" && !IsHidden(path) &&
         !path.filename().string().ends_with(kAnatomyEnd);
}

bool IsHidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

std::vector<fs::path> MatchFiles(const fs::path& folder, const std::string& pattern) {
  const fs::path path(pattern);
  Parts parts;
  for (const fs::path& part : path.relative_path()) {
    if (!part.empty()) parts.push_back(part.string());
  }
  fs::path base = path.root_path();
  if (base.empty()) base = folder.empty() ? fs::path(".") : folder;
  std::vector<fs::path> files;
  Match(base, parts, 0, files);
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  if (files.empty())
    throw Error("expected records, found none", (base / path.relative_path()).string(),
                "run_eval --out DIR writes them there");
  return files;
}

std::vector<fs::path> MatchFiles(const fs::path& folder, const std::vector<std::string>& patterns) {
  std::vector<fs::path> files;
  for (const std::string& pattern : patterns) {
    for (fs::path& file : MatchFiles(folder, pattern)) files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace quantref
