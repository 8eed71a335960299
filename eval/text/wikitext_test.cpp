#include "eval/text/wikitext.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/archive.h"
#include "eval/testing/loopback_server.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::LoopbackServer;
using testing::MakePublishedArchive;
using testing::MakeZip;
using testing::PublishedArchive;
using testing::Reply;

std::vector<std::string> Download(const PublishedArchive& archive, const std::string& served) {
  const LoopbackServer server({{"/archive.zip", {.body = served}}});
  return DownloadArchive(archive.source, server.Url("/archive.zip"), {}, {});
}

// The archive with other members, published with its own true size and sum.
PublishedArchive Republished(PublishedArchive archive, const std::string& zip) {
  archive.zip = zip;
  archive.source.bytes = zip.size();
  archive.source.sha256 = Sha256Hex(zip);
  return archive;
}

TEST_CASE("WikitextSource pins what is published") {
  const ArchiveSource& source = WikitextSource();
  CHECK(source.url.starts_with("https://"));
  CHECK(source.bytes > 0);
  CHECK(source.sha256.size() == 64);
  REQUIRE(source.files.size() == 3);
  for (const SplitFile& file : source.files) {
    CAPTURE(file.split);
    CHECK(file.bytes > 0);
    CHECK(file.sha256.size() == 64);
  }
}

TEST_CASE("DescribeMismatch compares size and sum") {
  const std::string sum = Sha256Hex("text");
  CHECK(DescribeMismatch(4, sum, "text").empty());
  CHECK(DescribeMismatch(0, "", "text").empty());
  CHECK(DescribeMismatch(4, "", "tent").empty());
  CHECK(DescribeMismatch(5, "", "text") == "expected 5 bytes, found 4 bytes with SHA-256 " + sum);
  const std::string other = Sha256Hex("tent");
  CHECK(DescribeMismatch(4, sum, "tent") ==
        "expected 4 bytes with SHA-256 " + sum + ", found 4 bytes with SHA-256 " + other);
  CHECK(DescribeMismatch(0, sum, "tent") ==
        "expected SHA-256 " + sum + ", found 4 bytes with SHA-256 " + other);
}

TEST_CASE("DownloadArchive gives the files in order", "[loopback]") {
  const PublishedArchive archive = MakePublishedArchive();
  CHECK(Download(archive, archive.zip) ==
        std::vector<std::string>{archive.test, archive.validation, archive.train});
}

TEST_CASE("DownloadArchive refuses another archive", "[loopback]") {
  const PublishedArchive archive = MakePublishedArchive();
  std::string changed = archive.zip;
  changed[changed.size() / 2] = static_cast<char>(changed[changed.size() / 2] ^ 1);
  CHECK_ERROR(Download(archive, changed), "/archive.zip: not the published archive",
              archive.source.sha256, Sha256Hex(changed));
  const std::string cut = archive.zip.substr(0, 100);
  CHECK_ERROR(Download(archive, cut), "not the published archive",
              "expected " + std::to_string(archive.zip.size()) + " bytes", "found 100 bytes");
  CHECK_ERROR(Download(archive, archive.zip + "x"), "found more");
  CHECK_ERROR(Download(archive, "<html>Please log in</html>"), "not the published archive");
}

TEST_CASE("DownloadArchive refuses wrong members in an archive with the right sum", "[loopback]") {
  const PublishedArchive archive = MakePublishedArchive();
  const std::string test = "wikitext-2-raw/wiki.test.raw", valid = "wikitext-2-raw/wiki.valid.raw",
                    train = "wikitext-2-raw/wiki.train.raw";
  std::string changed = archive.test;
  changed[3] = '+';
  const auto download = [&](const std::string& zip) {
    return Download(Republished(archive, zip), zip);
  };
  CHECK_ERROR(download(MakeZip({{test, archive.test}, {train, archive.train}})),
              valid + ": not in the archive");
  CHECK_ERROR(download(MakeZip({{test, changed}, {valid, archive.validation}})), test,
              "in the archive: expected", Sha256Hex(archive.test), Sha256Hex(changed));
  CHECK_ERROR(download(MakeZip({{test, archive.test + "x"}})), test, "expected at most");
  CHECK_ERROR(
      download(MakeZip(
          {{test, archive.test}, {valid, archive.validation}, {train, archive.train.substr(1)}})),
      train, "expected " + std::to_string(archive.train.size()) + " bytes");
  CHECK_ERROR(download("not a zip archive"), "not a usable zip archive");
}

TEST_CASE("StoreFiles makes the folder and replaces what is there") {
  const testing::TempDir dir;
  const PublishedArchive archive = MakePublishedArchive();
  const std::filesystem::path folder = dir / "a/b";
  testing::WriteFile(folder / "wiki.test.raw", "old");
  StoreFiles(archive.source, {archive.test, archive.validation, archive.train}, folder);
  CHECK(ReadFile(folder / "wiki.test.raw", 1 << 20) == archive.test);
  CHECK(ReadFile(folder / "wiki.valid.raw", 1 << 20) == archive.validation);
  CHECK(ReadFile(folder / "wiki.train.raw", 1 << 20) == archive.train);
}

TEST_CASE("StoreFiles says where it cannot write") {
  const testing::TempDir dir;
  const PublishedArchive archive = MakePublishedArchive();
  const std::vector<std::string> contents = {archive.test, archive.validation, archive.train};
  testing::WriteFile(dir / "file", "in the way");
  CHECK_ERROR(StoreFiles(archive.source, contents, dir / "file/below"), "cannot make the folder",
              "XDG_CACHE_HOME");
  std::filesystem::create_directories(dir / "cache/wiki.test.raw/in-the-way");
  CHECK_ERROR(StoreFiles(archive.source, contents, dir / "cache"), "wiki.test.raw",
              "XDG_CACHE_HOME");
}

}  // namespace
}  // namespace quantref
