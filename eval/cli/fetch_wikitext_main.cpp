#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "eval/support/command_line.h"
#include "eval/support/guarded.h"
#include "eval/support/progress_bar.h"
#include "eval/support/say.h"
#include "eval/text/dataset.h"
#include "harness/base/cancel.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

void Download(DatasetOptions options) {
  const std::string& url =
      options.url_override.empty() ? options.wikitext.url : options.url_override;
  Say("downloading {}\n", url);
  ProgressBar bar("bytes", /*quiet=*/false);
  options.progress = [&](size_t done, size_t total) { bar.Update(done, total); };
  options.cancelled = CancelRequested;
  FetchWikitext(options);
}

int Fetch(const DatasetOptions& options, bool force) {
  std::vector<CachedFile> files = CheckCachedWikitext(options);
  const auto is_right = [](const CachedFile& file) { return file.problem.empty(); };
  if (!force && std::all_of(files.begin(), files.end(), is_right)) {
    Say("WikiText-2 is already there\n");
  } else {
    Download(options);
    files = CheckCachedWikitext(options);
  }
  for (const CachedFile& file : files) {
    if (!is_right(file)) throw Error("not as it was written: " + file.problem, file.path.string());
    PrintWhole(
        fmt::format("{}  {} bytes  SHA-256 {}\n", file.path.string(), file.bytes, file.sha256));
  }
  return 0;
}

int Main(int argc, char** argv) {
  CommandLine line("fetch_wikitext",
                   "Downloads WikiText-2 (raw, 4.7 MB) to where QuantRef looks for it, and checks "
                   "it.");
  DatasetOptions options = DatasetOptions::FromEnvironment();
  bool force = false;
  line.Add("--url", options.url_override, "a mirror, which must hold the same bytes",
           {.value = "URL"});
  line.Add("--to", options.cache_dir,
           "write to DIR/wikitext-2-raw (default: the cache, ~/.cache/quantref)", {.value = "DIR"});
  line.AddFlag("--force", force, "download even if the right files are there");
  line.Footer("exit codes: 0 done, 2 wrong input, no network or interrupted, 3 a bug");
  return GuardedMain(line, argc, argv, [&] { return Fetch(options, force); });
}

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) { return quantref::Main(argc, argv); }
