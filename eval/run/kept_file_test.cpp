#include "eval/run/kept_file.h"

#include <catch2/catch.hpp>
#include <optional>
#include <string>

#include "harness/base/sha256.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

constexpr char kKindInTest[] = "QRTEST01";

std::optional<std::string> PayloadAt(const std::filesystem::path& path, const std::string& kind,
                                     const std::string& key) {
  const MappedFile file(path);
  const auto payload = KeptPayload(file, kind, key);
  return payload ? std::optional<std::string>(*payload) : std::nullopt;
}

TEST_CASE("kept_file: the payload of its kind and key, whole or not at all") {
  const testing::TempDir dir;
  const auto path = dir / "kept";
  const std::string key = Sha256Hex(std::string_view("one")), kind = kKindInTest;
  WriteKeptFile(path, kind, key, [](const ByteSink& sink) {
    sink("two pieces ");
    sink("of it");
  });
  CHECK(PayloadAt(path, kind, key) == "two pieces of it");
  CHECK_FALSE(PayloadAt(path, "QRTEST02", key));
  CHECK_FALSE(PayloadAt(path, kind, Sha256Hex(std::string_view("other"))));
  const std::string bytes = testing::FileText(path);
  CHECK(bytes == kind + key + "two pieces of it" +
                     Sha256Hex(std::string_view(bytes).substr(0, bytes.size() - 64)));
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] ^= 1;
    testing::WriteFile(path, damaged);
    CHECK_FALSE(PayloadAt(path, kind, key));
    if (i == 0) continue;  // no file is empty
    testing::WriteFile(path, bytes.substr(0, i));
    CHECK_FALSE(PayloadAt(path, kind, key));
  }
}

}  // namespace
}  // namespace quantref
