#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eval/text/download.h"
#include "eval/text/wikitext.h"
#include "harness/io/input_file.h"

namespace quantref {

// A text to measure or calibrate on: valid UTF-8 and more than white space.
struct Text {
  std::string dataset;  // a known name, or the path of a user's own file as it was given
  std::string split;    // "" for a user's own file
  std::string bytes;    // the content, as it is in the file
  std::string sha256;   // of the content
  std::filesystem::path path;
  InputFile file{};  // that it was read from; none where it was downloaded
  // This is the bundled text in the place of a data set that could not be had.
  bool substituted_sample = false;
};

// What LoadText knows by name.
struct DatasetInfo {
  std::string name;
  std::string about;
  std::vector<SplitFile> files;
};

struct DatasetOptions {
  bool sample_when_offline = false;
  std::string url_override;          // a mirror of the archive; "" = wikitext.url
  std::filesystem::path cache_dir;   // downloads go to its subfolder wikitext-2-raw/
  std::filesystem::path data_dir;    // looked into before the cache and never written; "" = none
  std::filesystem::path sample_dir;  // where sample.test.raw and sample.validation.raw are
  Progress progress;                 // of a download; may be empty
  Cancelled cancelled;               // stops a download; may be empty
  ArchiveSource wikitext = WikitextSource();

  // data_dir from $QUANTREF_DATA; cache_dir is CacheDir(); the URL from $QUANTREF_WIKITEXT_URL. The
  // rest, sample_dir too, is the caller's.
  static DatasetOptions FromEnvironment();
};

// wikitext-2 (test, validation, train) and sample (test, validation).
std::vector<DatasetInfo> KnownDatasets();

// Throws Error, at "dataset" or "split", where LoadText knows no such name. Files are not looked
// for.
void CheckTextName(const std::string& dataset, const std::string& split);

// The text of a split of a known data set, or of a user's own UTF-8 file: `dataset` is a path when
// it has a '/' or ends in .txt or .raw, and `split` is then ignored (a file has none, but configs
// have a default one).
//
// wikitext-2 is looked for in data_dir (directly and in wikitext-2-raw/) and in the cache, and then
// downloaded into the cache. A wrong file in data_dir is an Error; one in the cache is fetched
// anew. Where the download fails and sample_when_offline is set, the sample is given instead (its
// validation split for train) and marked.
//
// Error: every other failure, with what was tried; Interrupted: options.cancelled() was true.
Text LoadText(const std::string& dataset, const std::string& split, const DatasetOptions& options);

// Downloads WikiText-2 into the cache, whatever is there already.
void FetchWikitext(const DatasetOptions& options);

// The state of one file in the cache.
struct CachedFile {
  std::filesystem::path path;
  size_t bytes = 0;
  std::string sha256;
  std::string problem;  // "" = right; else "missing" or "expected ..., found ..."
};
std::vector<CachedFile> CheckCachedWikitext(const DatasetOptions& options);

}  // namespace quantref
