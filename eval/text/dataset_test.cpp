#include "eval/text/dataset.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/testing/archive.h"
#include "eval/testing/loopback_server.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/testing/scoped_variable.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::LoopbackServer;
using testing::Reply;
using testing::ScopedVariable;
using testing::TempDir;
using testing::WriteFile;

// A machine with an empty cache and no data folder, whose network has the archive at one address.
struct World {
  testing::PublishedArchive archive = testing::MakePublishedArchive();
  LoopbackServer server{{{"/archive.zip", {.body = archive.zip}}}};
  TempDir dir;
  DatasetOptions options;
  fs::path cached_test = dir / "cache/wikitext-2-raw/wiki.test.raw";
  fs::path cached_train = dir / "cache/wikitext-2-raw/wiki.train.raw";

  World() {
    archive.source.url = server.Url("/archive.zip");
    options.wikitext = archive.source;
    options.cache_dir = dir / "cache";
    options.sample_dir = dir / "sample";
    WriteFile(dir / "sample/sample.test.raw", "a sample to test\n");
    WriteFile(dir / "sample/sample.validation.raw", "a sample to validate\n");
  }

  void GoOffline() { options.wikitext.url = server.Url("/gone"); }
};

TEST_CASE("wikitext-2 is downloaded once and then found in the cache", "[loopback]") {
  World world;
  const Text text = LoadText("wikitext-2", "test", world.options);
  CHECK(text.dataset == "wikitext-2");
  CHECK(text.split == "test");
  CHECK(text.bytes == world.archive.test);
  CHECK(text.sha256 == Sha256Hex(world.archive.test));
  CHECK(text.path == world.cached_test);
  CHECK_FALSE(text.substituted_sample);
  CHECK(LoadText("wikitext-2", "test", world.options).bytes == world.archive.test);
  CHECK(LoadText("wikitext-2", "validation", world.options).bytes == world.archive.validation);
  CHECK(LoadText("wikitext-2", "train", world.options).bytes == world.archive.train);
  CHECK(world.server.requests() == 1);
}

TEST_CASE("wikitext-2 can come from a mirror, which must hold the same bytes", "[loopback]") {
  World world;
  world.GoOffline();
  world.options.url_override = world.server.Url("/archive.zip");
  CHECK(LoadText("wikitext-2", "test", world.options).bytes == world.archive.test);

  World other;
  const LoopbackServer mirror({{"/archive.zip", {.body = "something else"}}});
  other.options.url_override = mirror.Url("/archive.zip");
  CHECK_ERROR(LoadText("wikitext-2", "test", other.options), other.options.url_override,
              "not the published archive");
  CHECK_FALSE(fs::exists(other.options.cache_dir));
}

TEST_CASE("wikitext-2 is found in the data folder before the cache", "[loopback]") {
  World world;
  WriteFile(world.cached_test, "wrong, and not looked at");
  world.options.data_dir = world.dir / "data";
  const fs::path file =
      world.dir / GENERATE("data/wiki.test.raw", "data/wikitext-2-raw/wiki.test.raw");
  WriteFile(file, world.archive.test);
  const Text text = LoadText("wikitext-2", "test", world.options);
  CHECK(text.bytes == world.archive.test);
  CHECK(text.path == file);
  CHECK(world.server.requests() == 0);
  // What the data folder lacks is still looked for elsewhere.
  CHECK(LoadText("wikitext-2", "train", world.options).path == world.cached_train);
}

TEST_CASE("a wrong file in the data folder is an error", "[loopback]") {
  World world;
  world.options.data_dir = world.dir / "data";
  const fs::path file = world.dir / "data/wiki.test.raw";
  std::string changed = world.archive.test;
  changed[5] = '#';
  WriteFile(file, changed);
  world.options.sample_when_offline = true;  // is for another fault
  CHECK_ERROR(LoadText("wikitext-2", "test", world.options), file.string(), Sha256Hex(changed),
              Sha256Hex(world.archive.test), "unset QUANTREF_DATA");
  WriteFile(file, "short");
  CHECK_ERROR(LoadText("wikitext-2", "test", world.options),
              "expected " + std::to_string(world.archive.test.size()) + " bytes", "found 5 bytes");
  CHECK(world.server.requests() == 0);
}

TEST_CASE("a data folder that is none is an error", "[loopback]") {
  World world;
  world.options.data_dir = world.dir / "nowhere";
  CHECK_ERROR(LoadText("wikitext-2", "test", world.options), world.options.data_dir.string(),
              "expected a folder", "QUANTREF_DATA");
}

TEST_CASE("a wrong file in the cache is fetched anew", "[loopback]") {
  World world;
  WriteFile(world.cached_test, "damaged");
  CHECK(LoadText("wikitext-2", "test", world.options).bytes == world.archive.test);
  CHECK(ReadFile(world.cached_test, 1 << 20) == world.archive.test);
  WriteFile(world.cached_train, "damaged");  // only its size is known
  CHECK(LoadText("wikitext-2", "train", world.options).bytes == world.archive.train);
  CHECK(world.server.requests() == 2);

  WriteFile(world.cached_test, "damaged");
  world.GoOffline();
  CHECK_ERROR(LoadText("wikitext-2", "test", world.options), "damaged in the cache",
              world.cached_test.string(), "found 7 bytes", "404");
}

TEST_CASE("offline, the sample takes the place of wikitext-2 where that is wanted", "[loopback]") {
  World world;
  world.GoOffline();
  world.options.sample_when_offline = true;
  const Text test = LoadText("wikitext-2", "test", world.options);
  CHECK(test.substituted_sample);
  CHECK(test.dataset == "sample");
  CHECK(test.split == "test");
  CHECK(test.bytes == "a sample to test\n");
  CHECK(test.path == world.options.sample_dir / "sample.test.raw");
  const Text train = LoadText("wikitext-2", "train", world.options);
  CHECK(train.substituted_sample);
  CHECK(train.split == "validation");
  CHECK_FALSE(LoadText("sample", "test", world.options).substituted_sample);
}

TEST_CASE("offline, the error says what was tried and how to mend it", "[loopback]") {
  World world;
  const testing::RefusingPort port;
  world.options.wikitext.url = port.Url("/archive.zip");
  CHECK_ERROR(LoadText("wikitext-2", "test", world.options), "data set wikitext-2, split test",
              "QUANTREF_DATA is not set", world.cached_test.parent_path().string(),
              port.Url("/archive.zip"), "onnect", "scripts/fetch_wikitext", "offline: sample");
  world.options.data_dir = world.dir / "data";
  fs::create_directory(world.options.data_dir);
  CHECK_ERROR(LoadText("wikitext-2", "test", world.options),
              "not in " + world.options.data_dir.string());
  world.options.cache_dir.clear();
  CHECK_ERROR(LoadText("wikitext-2", "test", world.options), "no folder for downloads", "HOME");
}

TEST_CASE("a cancelled download is not taken for a missing network", "[loopback]") {
  World world;
  world.options.sample_when_offline = true;
  world.options.cancelled = [] { return true; };
  CHECK_THROWS_AS(LoadText("wikitext-2", "test", world.options), Interrupted);
  CHECK_FALSE(fs::exists(world.options.cache_dir));
}

TEST_CASE("a full or closed cache is not taken for a missing network", "[loopback]") {
  World world;
  world.options.sample_when_offline = true;
  world.options.cache_dir = world.dir / "sample/sample.test.raw";
  CHECK_ERROR(LoadText("wikitext-2", "test", world.options), "sample.test.raw", "XDG_CACHE_HOME");
}

TEST_CASE("the sample is bundled", "[loopback]") {
  World world;
  const Text text = LoadText("sample", "validation", world.options);
  CHECK(text.dataset == "sample");
  CHECK(text.split == "validation");
  CHECK(text.bytes == "a sample to validate\n");
  world.options.sample_dir = world.dir / "nowhere";
  CHECK_ERROR(LoadText("sample", "test", world.options), "nowhere/sample.test.raw");
}

TEST_CASE("the bundled sample can be loaded") {
  DatasetOptions options;
  options.sample_dir = testing::SourceDir() / "eval/sample";
  const std::vector<DatasetInfo> known = KnownDatasets();
  for (const SplitFile& file : known[1].files) {
    CHECK(LoadText("sample", file.split, options).bytes.size() > 10'000);
  }
}

TEST_CASE("unknown names are answered with the nearest", "[loopback]") {
  const World world;
  CHECK_ERROR(LoadText("wikitext2", "test", world.options),
              "unknown data set 'wikitext2' (did you mean 'wikitext-2'?)", ".txt");
  CHECK_ERROR(LoadText("c4", "test", world.options), "(valid: wikitext-2, sample)");
  CHECK_ERROR(LoadText("wikitext-2", "valid", world.options),
              "unknown split 'valid' of wikitext-2 (did you mean 'validation'?)");
  CHECK_ERROR(LoadText("wikitext-2", "", world.options), "(valid: test, validation, train)");
  CHECK_ERROR(LoadText("sample", "train", world.options), "(valid: test, validation)");
}

TEST_CASE("a user's own file is taken as it is", "[loopback]") {
  const World world;
  const std::string content =
      "\xEF\xBB\xBF"
      "café\r\n\n one more line";
  const fs::path path = world.dir / "mine";
  WriteFile(path, content);
  const Text text = LoadText(path.string(), "test", world.options);
  CHECK(text.dataset == "mine");
  CHECK(text.split.empty());
  CHECK(text.bytes == content);
  CHECK(text.sha256 == Sha256Hex(content));
  CHECK(text.path == path);
  CHECK_ERROR(LoadText("no-such-file.txt", "", world.options), "no-such-file.txt");
  CHECK_ERROR(LoadText("no-such-file.raw", "", world.options), "no-such-file.raw");
  CHECK_ERROR(LoadText(world.dir.path().string(), "", world.options), "folder");
}

TEST_CASE("bad UTF-8 and empty texts are errors", "[loopback]") {
  const World world;
  const fs::path path = world.dir / "mine.txt";
  const auto load = [&](std::string_view content) {
    WriteFile(path, content);
    return LoadText(path.string(), "", world.options);
  };
  CHECK_ERROR(load("one\ntwo \xE9t\xE9\n"), path.string(), "0xe9 at offset 8 (line 2)", "iconv");
  CHECK_ERROR(load("\xFF\xFEu\0"), "0xff at offset 0 (line 1)");
  CHECK_ERROR(load(""), "found an empty file");
  CHECK_ERROR(load(" \n\t\r\n"), "nothing but white space");
}

TEST_CASE("FetchWikitext fills the cache and CheckCachedWikitext tells its state", "[loopback]") {
  World world;
  for (const CachedFile& file : CheckCachedWikitext(world.options))
    CHECK(file.problem == "missing");
  WriteFile(world.cached_test, "damaged");
  CHECK(CheckCachedWikitext(world.options)[0].problem.starts_with("expected "));
  FetchWikitext(world.options);
  const auto files = CheckCachedWikitext(world.options);
  REQUIRE(files.size() == 3);
  for (const CachedFile& file : files) CHECK(file.problem.empty());
  CHECK(files[0].path == world.cached_test);
  CHECK(files[2].bytes == world.archive.train.size());
  CHECK(files[2].sha256 == Sha256Hex(world.archive.train));
}

TEST_CASE("DatasetOptions come from the environment") {
  const ScopedVariable home("HOME", "/home/ada");
  const ScopedVariable cache("XDG_CACHE_HOME", nullptr);
  const ScopedVariable data("QUANTREF_DATA", nullptr);
  const ScopedVariable url("QUANTREF_WIKITEXT_URL", nullptr);
  const DatasetOptions plain = DatasetOptions::FromEnvironment();
  CHECK(plain.cache_dir == "/home/ada/.cache/quantref");
  CHECK(plain.data_dir.empty());
  CHECK(plain.url_override.empty());
  CHECK_FALSE(plain.sample_when_offline);
  {
    const ScopedVariable moved("XDG_CACHE_HOME", "/var/cache/ada");
    const ScopedVariable set_data("QUANTREF_DATA", "/data");
    const ScopedVariable set_url("QUANTREF_WIKITEXT_URL", "http://mirror/archive.zip");
    const DatasetOptions set = DatasetOptions::FromEnvironment();
    CHECK(set.cache_dir == "/var/cache/ada/quantref");
    CHECK(set.data_dir == "/data");
    CHECK(set.url_override == "http://mirror/archive.zip");
  }
  const ScopedVariable relative("XDG_CACHE_HOME", "here");
  CHECK(DatasetOptions::FromEnvironment().cache_dir == "/home/ada/.cache/quantref");
  const ScopedVariable no_home("HOME", nullptr);
  CHECK(DatasetOptions::FromEnvironment().cache_dir.empty());
}

TEST_CASE("KnownDatasets lists every split") {
  const auto known = KnownDatasets();
  REQUIRE(known.size() == 2);
  CHECK(known[0].name == "wikitext-2");
  CHECK(known[0].files.size() == 3);
  CHECK(known[1].name == "sample");
  CHECK(known[1].files.size() == 2);
}

}  // namespace
}  // namespace quantref
