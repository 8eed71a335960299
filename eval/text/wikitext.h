#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "eval/text/download.h"

namespace quantref {

// One file of a data set.
struct SplitFile {
  std::string split;     // as configs name it
  std::string file;      // its name in the data set's folder
  size_t bytes = 0;      // 0: any (not in an archive, where it bounds what is unpacked)
  std::string sha256{};  // lower-case hex digits; "": any
};

// A data set published as one zip archive. The archive's own size and sum are always checked, so
// that what comes from a download is the published text even where a file's own sum is not known
// here.
struct ArchiveSource {
  std::string url;
  size_t bytes = 0;
  std::string sha256;
  std::string folder;  // of the files, in the archive and on disk
  std::vector<SplitFile> files;
};

// WikiText-2 raw (wikitext-2-raw-v1), Merity et al. 2016, CC BY-SA 3.0 and GFDL, as llama.cpp's
// scripts fetch it: the copy whose test split the published perplexities were measured on.
const ArchiveSource& WikitextSource();

// "expected ..., found ..." where the contents are other (0 and "" expect nothing), else "".
std::string DescribeMismatch(size_t expected_bytes, const std::string& expected_sha256,
                             std::string_view contents);

// Downloads the archive from `url` (a mirror must hold the same bytes) and gives the contents of
// source.files in their order. The archive's size and sum and those of each file are checked.
// Writes nothing. Error: the network fails or what it gives is not what is expected; Interrupted:
// cancelled() was true.
std::vector<std::string> DownloadArchive(const ArchiveSource& source, const std::string& url,
                                         const Progress& progress, const Cancelled& cancelled);

// Writes what DownloadArchive gave into `folder`, made if need be, each file whole or not at all;
// replaces what is there.
void StoreFiles(const ArchiveSource& source, const std::vector<std::string>& contents,
                const std::filesystem::path& folder);

}  // namespace quantref
