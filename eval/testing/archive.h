#pragma once

#include <map>
#include <string>

#include "eval/text/wikitext.h"

namespace quantref::testing {

// The bytes of a zip archive with these members, name to content, compressed by deflate.
std::string MakeZip(const std::map<std::string, std::string>& members);

// A small data set of WikiText-2's shape: three splits in one archive, with true sizes and sums
// (none for train).
struct PublishedArchive {
  std::string test, validation, train;  // the contents
  std::string zip;
  ArchiveSource source;  // without a URL
};
PublishedArchive MakePublishedArchive();

}  // namespace quantref::testing
