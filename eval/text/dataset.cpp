#include "eval/text/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "eval/support/nearest.h"
#include "eval/support/public_name.h"
#include "eval/support/resources.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/io/utf8.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr char kWikitext[] = "wikitext-2";
constexpr char kSample[] = "sample";
constexpr size_t kLongestText = size_t{1} << 30;

const std::vector<SplitFile>& SampleFiles() {
  static const std::vector<SplitFile> kFiles = {
      {.split = "test", .file = "sample.test.raw"},
      {.split = "validation", .file = "sample.validation.raw"}};
  return kFiles;
}

bool IsPath(std::string_view dataset) {
  return dataset.find('/') != std::string_view::npos || dataset.ends_with(".txt") ||
         dataset.ends_with(".raw");
}

// A path that cannot be looked at (say, for its rights) counts as there: reading it then says why.
bool IsThere(const fs::path& path) {
  std::error_code code;
  return fs::status(path, code).type() != fs::file_type::not_found;
}

Text MakeText(std::string dataset, std::string split, FileContents read, fs::path path) {
  std::string& bytes = read.bytes;
  if (const std::optional<size_t> bad = FindInvalidUtf8(bytes)) {
    const auto line =
        1 + std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(*bad), '\n');
    throw Error(fmt::format("expected UTF-8, found the byte 0x{:02x} at offset {} (line {})",
                            static_cast<unsigned char>(bytes[*bad]), *bad, line),
                path.string(), "convert the file, for example with iconv -t UTF-8");
  }
  if (bytes.find_first_not_of(" \t\r\n\v\f") == std::string::npos) {
    throw Error(fmt::format("expected a text, found {}",
                            bytes.empty() ? "an empty file" : "nothing but white space"),
                path.string());
  }
  std::string sha256 = Sha256Hex(bytes);
  return {.dataset = std::move(dataset),
          .split = std::move(split),
          .bytes = std::move(bytes),
          .sha256 = std::move(sha256),
          .path = std::move(path),
          .file = std::move(read.file)};
}

size_t FindSplit(const std::string& dataset, const std::string& split,
                 const std::vector<SplitFile>& files) {
  std::vector<std::string> valid;
  for (size_t i = 0; i < files.size(); ++i) {
    if (files[i].split == split) return i;
    valid.push_back(files[i].split);
  }
  throw Error(fmt::format("unknown split '{}' of {}{}", split, dataset, DidYouMean(split, valid)),
              "split");
}

Text LoadSample(const std::string& split, const DatasetOptions& options) {
  const SplitFile& file = SampleFiles()[FindSplit(kSample, split, SampleFiles())];
  const fs::path path = options.sample_dir / file.file;
  if (!IsThere(path)) {
    throw Error("the bundled text is not there", path.string(),
                "restore the folder eval/sample of QuantRef");
  }
  return MakeText(kSample, split, ReadInput(path, kLongestText), path);
}

std::optional<fs::path> FindInDataDir(const SplitFile& file, const DatasetOptions& options) {
  if (options.data_dir.empty()) return std::nullopt;
  std::error_code code;
  if (!fs::is_directory(options.data_dir, code)) {
    throw Error("expected a folder with data sets" + (code ? ": " + code.message() : std::string()),
                options.data_dir.string(), "set QUANTREF_DATA to one, or unset it");
  }
  for (const fs::path& path :
       {options.data_dir / file.file, options.data_dir / options.wikitext.folder / file.file}) {
    if (IsThere(path)) return path;
  }
  return std::nullopt;
}

fs::path CacheFolder(const DatasetOptions& options) {
  if (options.cache_dir.empty()) {
    throw Error("no folder for downloads", "cache",
                "set HOME or XDG_CACHE_HOME, or QUANTREF_DATA to a folder with WikiText-2");
  }
  return options.cache_dir / options.wikitext.folder;
}

std::vector<std::string> Download(const DatasetOptions& options) {
  const std::string& url =
      options.url_override.empty() ? options.wikitext.url : options.url_override;
  return DownloadArchive(options.wikitext, url, options.progress, options.cancelled);
}

// cache_problem: what was wrong with `cached`, or "" where it is not there.
Error NotToBeHad(const SplitFile& file, const DatasetOptions& options, const fs::path& cached,
                 const std::string& cache_problem, const Error& failure) {
  const std::string data_dir = options.data_dir.empty()
                                   ? "QUANTREF_DATA is not set"
                                   : "not in " + options.data_dir.string() + " (QUANTREF_DATA)";
  const std::string cache = cache_problem.empty() ? "not in " + cached.parent_path().string()
                                                  : "damaged in the cache (" + cached.string() +
                                                        ": " + cache_problem + ")";
  return {fmt::format("{} is neither on this machine nor to be downloaded: {}; {}; {}: {}",
                      file.file, data_dir, cache, failure.where(), failure.problem()),
          fmt::format("data set {}, split {}", kWikitext, file.split),
          "run scripts/fetch_wikitext where there is a network, or set QUANTREF_DATA to a folder "
          "with " +
              file.file + "; 'offline: sample' in the config goes on with the bundled text"};
}

Text LoadWikitext(const std::string& split, const DatasetOptions& options) {
  const size_t index = FindSplit(kWikitext, split, options.wikitext.files);
  const SplitFile& file = options.wikitext.files[index];
  if (const std::optional<fs::path> path = FindInDataDir(file, options)) {
    FileContents read = ReadInput(*path, kLongestText);
    if (const std::string problem = DescribeMismatch(file.bytes, file.sha256, read.bytes);
        !problem.empty()) {
      throw Error("not the published file: " + problem, path->string(),
                  "remove it, or unset QUANTREF_DATA");
    }
    return MakeText(kWikitext, split, std::move(read), *path);
  }

  const fs::path cached = CacheFolder(options) / file.file;
  std::string cache_problem;
  if (IsThere(cached)) {
    FileContents read = ReadInput(cached, kLongestText);
    cache_problem = DescribeMismatch(file.bytes, file.sha256, read.bytes);
    if (cache_problem.empty()) return MakeText(kWikitext, split, std::move(read), cached);
  }

  std::vector<std::string> contents;
  try {
    contents = Download(options);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& failure) {
    if (!options.sample_when_offline)
      throw NotToBeHad(file, options, cached, cache_problem, failure);
    Text sample = LoadSample(split == "train" ? "validation" : split, options);
    sample.substituted_sample = true;
    return sample;
  }
  StoreFiles(options.wikitext, contents, cached.parent_path());
  return MakeText(kWikitext, split, {std::move(contents[index]), {}}, cached);
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

DatasetOptions DatasetOptions::FromEnvironment() {
  DatasetOptions options;
  options.data_dir = Environment("QUANTREF_DATA");
  options.url_override = Environment("QUANTREF_WIKITEXT_URL");
  options.cache_dir = CacheDir();
  return options;
}

std::vector<DatasetInfo> KnownDatasets() {
  return {
      {.name = kWikitext,
       .about = "WikiText-2 raw: Wikipedia articles, the text of the published perplexities "
                "(downloaded once)",
       .files = WikitextSource().files},
      {.name = kSample,
       .about = "a small bundled text for trying things without a network; its figures mean little",
       .files = SampleFiles()}};
}

void CheckTextName(const std::string& dataset, const std::string& split) {
  if (IsPath(dataset)) return;
  std::vector<std::string> valid;
  for (const DatasetInfo& info : KnownDatasets()) {
    if (info.name == dataset) {
      FindSplit(dataset, split, info.files);
      return;
    }
    valid.push_back(info.name);
  }
  throw Error(
      "unknown data set '" + dataset + "'" + DidYouMean(dataset, valid), "dataset",
      "name a text file of your own by a path with a '/' in it or a name ending in .txt or .raw");
}

Text LoadText(const std::string& dataset, const std::string& split, const DatasetOptions& options) {
  CheckTextName(dataset, split);
  if (IsPath(dataset))
    return MakeText(PublicName(dataset), "", ReadInput(dataset, kLongestText), dataset);
  return dataset == kWikitext ? LoadWikitext(split, options) : LoadSample(split, options);
}

void FetchWikitext(const DatasetOptions& options) {
  const fs::path folder = CacheFolder(options);
  StoreFiles(options.wikitext, Download(options), folder);
}

std::vector<CachedFile> CheckCachedWikitext(const DatasetOptions& options) {
  std::vector<CachedFile> files;
  for (const SplitFile& expected : options.wikitext.files) {
    CachedFile& file = files.emplace_back();
    file.path = CacheFolder(options) / expected.file;
    if (!IsThere(file.path)) {
      file.problem = "missing";
      continue;
    }
    const std::string bytes = ReadFile(file.path, kLongestText);
    file.bytes = bytes.size();
    file.sha256 = Sha256Hex(bytes);
    file.problem = DescribeMismatch(expected.bytes, expected.sha256, bytes);
  }
  return files;
}

}  // namespace quantref
