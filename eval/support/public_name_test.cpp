#include "eval/support/public_name.h"

#include <catch2/catch.hpp>
#include <filesystem>

namespace quantref {
namespace {

TEST_CASE("PublicName is the last part of a path, and any other name itself") {
  CHECK(PublicName("wikilm-28m") == "wikilm-28m");
  CHECK(PublicName("/home/jane/models/llama-7b") == "llama-7b");
  CHECK(PublicName("models/llama-7b//") == "llama-7b");
  CHECK(PublicName("../x/./llama-7b/.") == "llama-7b");
  CHECK(PublicName("./text.txt") == "text.txt");
  CHECK(PublicName("/") == "/");
  CHECK(PublicName("") == "");
  CHECK(PublicName(".") == std::filesystem::current_path().filename());
  CHECK(PublicName("..") == std::filesystem::current_path().parent_path().filename());
}

TEST_CASE("TextName has the split where there is one") {
  CHECK(TextName("wikitext-2", "test") == "wikitext-2 test");
  CHECK(TextName("own.txt", "") == "own.txt");
}

}  // namespace
}  // namespace quantref
