#include "eval/text/wikitext.h"

#include <fmt/format.h>

#include <system_error>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

constexpr char kStoreHint[] =
    "free some space, or choose a folder that you may write to (XDG_CACHE_HOME moves the cache)";

}  // namespace

const ArchiveSource& WikitextSource() {
  static const ArchiveSource kSource = {
      .url = "https://huggingface.co/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip",
      .bytes = 4721645,
      .sha256 = "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
      .folder = "wikitext-2-raw",
      .files = {{.split = "test",
                 .file = "wiki.test.raw",
                 .bytes = 1290590,
                 .sha256 = "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"},
                {.split = "validation",
                 .file = "wiki.valid.raw",
                 .bytes = 1146846,
                 .sha256 = "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7"},
                {.split = "train",
                 .file = "wiki.train.raw",
                 .bytes = 10940747,
                 .sha256 = "6707892fa3788b5ab9ed78ab5ff37d9fe825f6011a2ad4fcd6a6d467f0e7da57"}}};
  return kSource;
}

std::string DescribeMismatch(size_t expected_bytes, const std::string& expected_sha256,
                             std::string_view contents) {
  const std::string found_sha256 = Sha256Hex(contents);
  const bool right_size = expected_bytes == 0 || contents.size() == expected_bytes;
  const bool right_sum = expected_sha256.empty() || found_sha256 == expected_sha256;
  if (right_size && right_sum) return {};
  std::string expected;
  if (expected_bytes != 0) expected = fmt::format("{} bytes", expected_bytes);
  if (!expected_sha256.empty()) {
    expected += (expected.empty() ? "" : " with ") + fmt::format("SHA-256 {}", expected_sha256);
  }
  return fmt::format("expected {}, found {} bytes with SHA-256 {}", expected, contents.size(),
                     found_sha256);
}

std::vector<std::string> DownloadArchive(const ArchiveSource& source, const std::string& url,
                                         const Progress& progress, const Cancelled& cancelled) {
  QR_CHECK(source.bytes > 0 && !source.sha256.empty());
  const std::string archive = HttpGet(url, source.bytes, progress, cancelled);
  const std::string hint =
      "the address does not hold the published archive, or a proxy answers in its place";
  if (const std::string problem = DescribeMismatch(source.bytes, source.sha256, archive);
      !problem.empty()) {
    throw Error("not the published archive: " + problem, url, hint);
  }
  std::vector<std::string> contents;
  for (const SplitFile& file : source.files) {
    QR_CHECK(file.bytes > 0);
    const std::string member = source.folder + "/" + file.file;
    contents.push_back(UnzipMember(archive, member, file.bytes));
    if (const std::string problem = DescribeMismatch(file.bytes, file.sha256, contents.back());
        !problem.empty()) {
      throw Error(fmt::format("{} in the archive: {}", member, problem), url, hint);
    }
  }
  return contents;
}

void StoreFiles(const ArchiveSource& source, const std::vector<std::string>& contents,
                const std::filesystem::path& folder) {
  QR_CHECK_EQ(contents.size(), source.files.size());
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) throw Error("cannot make the folder: " + code.message(), folder.string(), kStoreHint);
  for (size_t i = 0; i < contents.size(); ++i) {
    try {
      WriteFileAtomically(folder / source.files[i].file, contents[i], /*may_replace=*/true);
    } catch (const Error& error) {
      throw Error(error.problem(), error.where(), kStoreHint);
    }
  }
}

}  // namespace quantref
