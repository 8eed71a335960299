#include "harness/base/sha256.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quantref {
namespace {

// FIPS 180-4's examples, and the long one of its predecessor.
constexpr char kEmpty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kTwoBlocks[] = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
constexpr char kMillion[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST_CASE("sha256: the published examples", "[sha256]") {
  CHECK(Sha256Hex("") == kEmpty);
  CHECK(Sha256Hex(nullptr, 0) == kEmpty);
  CHECK(Sha256Hex("abc") == kAbc);
  CHECK(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") == kTwoBlocks);
  CHECK(Sha256Hex(std::string(1000000, 'a')) == kMillion);
}

TEST_CASE("sha256: the pieces of an incremental hash do not matter", "[sha256]") {
  const std::string million(1000000, 'a');
  for (size_t piece : {1000u, 63u, 64u, 65u}) {
    Sha256Stream sha;
    for (size_t at = 0; at < million.size(); at += piece) {
      sha.Update(million.data() + at, std::min(piece, million.size() - at));
    }
    CHECK(sha.HexDigest() == kMillion);
  }
  Sha256Stream sha;
  sha.Update("ab", 2);
  sha.Update(nullptr, 0);
  sha.Update("c", 1);
  CHECK(sha.HexDigest() == kAbc);
  CHECK(Sha256Stream().HexDigest() == kEmpty);
}

TEST_CASE("sha256: elements count as their little-endian bytes", "[sha256]") {
  const std::vector<uint32_t> words = {0x64636261, 0x68676665};
  CHECK(Sha256Hex(std::span<const uint32_t>(words)) == Sha256Hex("abcdefgh"));
  CHECK(Sha256Hex(std::span<const uint32_t>()) == kEmpty);
}

}  // namespace
}  // namespace quantref
