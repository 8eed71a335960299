#include "eval/text/download.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <stdexcept>
#include <string>

#include "eval/testing/archive.h"
#include "eval/testing/loopback_server.h"
#include "harness/base/error.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::LoopbackServer;
using testing::MakeZip;
using testing::Reply;

constexpr size_t kLimit = 1 << 20;

Reply Body(std::string body) { return {.body = std::move(body)}; }

TEST_CASE("HttpGet gives the body and reports progress", "[loopback]") {
  const std::string body(300'000, 'x');
  const LoopbackServer server({{"/file", Body(body)}, {"/empty", Body("")}});
  size_t last_done = 0, last_total = 0;
  const auto progress = [&](size_t done, size_t total) {
    CHECK(done >= last_done);
    last_done = done;
    last_total = total;
  };
  CHECK(HttpGet(server.Url("/file"), body.size(), progress) == body);
  CHECK(last_done == body.size());
  CHECK(last_total == body.size());
  CHECK(HttpGet(server.Url("/empty"), 0).empty());
}

TEST_CASE("HttpGet takes a body without a length", "[loopback]") {
  Reply reply = Body("as long as it is");
  reply.says_length = false;
  const LoopbackServer server({{"/file", reply}});
  size_t last_total = 1;
  CHECK(HttpGet(server.Url("/file"), kLimit, [&](size_t, size_t total) { last_total = total; }) ==
        reply.body);
  CHECK(last_total == 0);
}

TEST_CASE("HttpGet follows redirects, but only on http and https, and not forever", "[loopback]") {
  const auto to = [](const std::string& location) {
    return Reply{.status = 302, .body = "moved, says this longer page", .location = location};
  };
  const LoopbackServer server({{"/file", Body("here")},
                               {"/moved", to("/file")},
                               {"/loop", to("/loop")},
                               {"/local", to("file:///etc/hostname")}});
  CHECK(HttpGet(server.Url("/moved"), 4) == "here");
  CHECK_ERROR(HttpGet(server.Url("/loop"), kLimit), "redirects");
  CHECK_ERROR(HttpGet(server.Url("/local"), kLimit), "file", "rotocol");
  CHECK_ERROR(HttpGet("file:///etc/hostname", kLimit), "rotocol");
}

TEST_CASE("HttpGet refuses any status but 200", "[loopback]") {
  Reply gone = Body("not the file");
  gone.status = 410;
  Reply part = Body("part");
  part.status = 206;
  const LoopbackServer server({{"/gone", gone}, {"/part", part}});
  CHECK_ERROR(HttpGet(server.Url("/missing"), kLimit), server.Url("/missing"), "404", "hint");
  CHECK_ERROR(HttpGet(server.Url("/gone"), kLimit), "410");
  CHECK_ERROR(HttpGet(server.Url("/part"), kLimit), "206");
}

TEST_CASE("HttpGet refuses a body that ends early", "[loopback]") {
  Reply reply = Body(std::string(1000, 'x'));
  reply.sends = 400;
  const LoopbackServer server({{"/file", reply}});
  CHECK_ERROR(HttpGet(server.Url("/file"), kLimit), "failed");
}

TEST_CASE("HttpGet refuses a body that is too long, whatever its length says", "[loopback]") {
  Reply reply = Body(std::string(100'000, 'x'));
  reply.says_length = GENERATE(true, false);
  const LoopbackServer server({{"/file", reply}});
  CHECK_ERROR(HttpGet(server.Url("/file"), 99'999), "expected at most 99999 bytes, found more");
}

TEST_CASE("HttpGet says when a connection is refused or a URL is none", "[loopback]") {
  const testing::RefusingPort port;
  CHECK_ERROR(HttpGet(port.Url("/file"), kLimit), "onnect");
  CHECK_ERROR(HttpGet("http://", kLimit), "failed");
  CHECK_ERROR(HttpGet("", kLimit), "failed");
}

TEST_CASE("HttpGet gives up on a stall", "[loopback]") {
  Reply reply = Body(std::string(1000, 'x'));
  reply.sends = GENERATE(0, 400);
  reply.stalls = true;
  const LoopbackServer server({{"/file", reply}});
  const auto start = std::chrono::steady_clock::now();
  const HttpLimits limits{.stall = std::chrono::seconds(1)};
  CHECK_ERROR(HttpGet(server.Url("/file"), kLimit, {}, {}, limits), "too slow");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("HttpGet stops when it is cancelled, in a stall too", "[loopback]") {
  Reply reply = Body(std::string(1000, 'x'));
  reply.sends = 400;
  reply.stalls = true;
  const LoopbackServer server({{"/file", reply}});
  int asked = 0;
  CHECK_THROWS_AS(HttpGet(server.Url("/file"), kLimit, {}, [&] { return ++asked > 3; }),
                  Interrupted);
}

TEST_CASE("HttpGet lets the exceptions of its callbacks through", "[loopback]") {
  const LoopbackServer server({{"/file", Body("body")}});
  const auto throws = [](size_t, size_t) { throw std::runtime_error("from progress"); };
  CHECK_THROWS_WITH(HttpGet(server.Url("/file"), kLimit, throws), "from progress");
  const auto cancelled = []() -> bool { throw std::runtime_error("from cancelled"); };
  CHECK_THROWS_WITH(HttpGet(server.Url("/file"), kLimit, {}, cancelled), "from cancelled");
}

TEST_CASE("UnzipMember gives the content") {
  const std::string content(200'000, 'y');
  const std::string zip = MakeZip({{"folder/a", content}, {"empty", ""}, {"folder/é", "accent"}});
  CHECK(UnzipMember(zip, "folder/a", content.size()) == content);
  CHECK(UnzipMember(zip, "empty", 0).empty());
  CHECK(UnzipMember(zip, "folder/é", kLimit) == "accent");
}

TEST_CASE("UnzipMember refuses what is not there and what is no archive") {
  const std::string zip = MakeZip({{"a", "content"}});
  CHECK_ERROR(UnzipMember(zip, "b", kLimit), "b: not in the archive");
  CHECK_ERROR(UnzipMember("", "a", kLimit), "a: ");
  CHECK_ERROR(UnzipMember("<html>no such file</html>", "a", kLimit), "not a usable zip archive");
  CHECK_ERROR(UnzipMember(zip.substr(0, zip.size() / 2), "a", kLimit), "not a usable zip archive");
}

TEST_CASE("UnzipMember refuses a member that is longer than allowed") {
  const std::string zip = MakeZip({{"bomb", std::string(10'000'000, '\0')}});
  REQUIRE(zip.size() < 20'000);
  CHECK_ERROR(UnzipMember(zip, "bomb", 9'999'999),
              "expected at most 9999999 bytes in the archive, found 10000000");
}

// Writes the uncompressed size of the only member into its central and its local header.
std::string WithClaimedSize(std::string zip, uint32_t size) {
  const size_t central = zip.find("PK\x01\x02");
  const size_t local = zip.find("PK\x03\x04");
  REQUIRE(central != std::string::npos);
  REQUIRE(local != std::string::npos);
  for (size_t i = 0; i < 4; ++i) {
    const char byte = static_cast<char>(size >> (8 * i));
    zip[central + 24 + i] = byte;
    zip[local + 22 + i] = byte;
  }
  return zip;
}

TEST_CASE("UnzipMember refuses a member whose header lies about its size") {
  const std::string zip = MakeZip({{"bomb", std::string(1'000'000, '\0')}});
  CHECK(UnzipMember(WithClaimedSize(zip, 1'000'000), "bomb", kLimit).size() == 1'000'000);
  for (const uint32_t claimed : {0U, 10U, 999'999U, 1'000'001U, 1'048'576U, 4'294'967'294U}) {
    CAPTURE(claimed);
    CHECK_THROWS_AS(UnzipMember(WithClaimedSize(zip, claimed), "bomb", kLimit), Error);
  }
}

TEST_CASE("UnzipMember never gives wrong content from a damaged archive") {
  std::string content;
  for (int i = 0; i < 40; ++i) content += "line " + std::to_string(i * i) + "\n";
  const std::string zip = MakeZip({{"a", content}});
  size_t refused = 0;
  for (size_t i = 0; i < zip.size(); ++i) {
    for (const int flipped : {0x01, 0x80, 0xff}) {
      std::string damaged = zip;
      damaged[i] = static_cast<char>(damaged[i] ^ flipped);
      try {
        if (UnzipMember(damaged, "a", kLimit) != content)
          FAIL("wrong content after damage at byte " << i);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  CHECK(refused > zip.size());  // what passes are dates, versions and the like
  for (size_t size = 0; size < zip.size(); ++size) {
    CHECK_THROWS_AS(UnzipMember(std::string_view(zip).substr(0, size), "a", kLimit), Error);
  }
}

}  // namespace
}  // namespace quantref
