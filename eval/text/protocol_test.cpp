#include "eval/text/protocol.h"

#include <catch2/catch.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {
namespace {

using Ids = std::vector<uint32_t>;

Protocol Gptq() { return FindProtocol("gptq-2048"); }
Protocol LlamaCpp() { return FindProtocol("llamacpp-512"); }
Protocol FullStride() { return FindProtocol("full-stride"); }

// A stream whose ids are 1000, 1001, ...
TokenStream Counting(size_t tokens) {
  TokenStream stream;
  stream.bos = 1000;
  stream.ids.resize(tokens);
  std::iota(stream.ids.begin(), stream.ids.end(), 1000u);
  return stream;
}

std::string SampleText() {
  return ReadFile(testing::SourceDir() / "eval/sample/sample.test.raw", 1 << 20);
}

TEST_CASE("protocol: the three are known by name") {
  for (const char* name : {"gptq-2048", "llamacpp-512", "full-stride"}) {
    CHECK(FindProtocol(name).name == name);
    CHECK_FALSE(FindProtocol(name).summary.empty());
  }
  CHECK(Protocols().size() >= 3);
  CHECK_ERROR(FindProtocol("gptq2048"), "accuracy.protocol", "unknown protocol 'gptq2048'",
              "did you mean 'gptq-2048'?", "gptq-N");
  CHECK_ERROR(FindProtocol("strided"), "full-stride");
}

TEST_CASE("protocol: any window by name, and the name of any window") {
  const Protocol wide = FindProtocol("gptq-4096"), chunks = FindProtocol("llamacpp-1024"),
                 strides = FindProtocol("full-stride-300");
  CHECK(wide.window == 4096);
  CHECK(wide.join_rows);
  CHECK(chunks.window == 1024);
  CHECK(chunks.bos_each_window);
  CHECK(strides.window == 300);
  CHECK(strides.sliding);
  CHECK(WithWindow(Gptq(), 4096).name == "gptq-4096");
  CHECK(WithWindow(FullStride(), 300).name == "full-stride-300");
  CHECK(MakeWindows(wide, 9000, 8192).size() == 2);
  CHECK(MakeWindows(chunks, 1024, 8192)[0].first_scored == 513);
  CHECK(MakeWindows(strides, 450, 8192).size() == 2);
  for (const char* name : {"gptq-", "gptq-0512", "gptq-5e3", "gptq-512 ", "gptq--5", "gptq-99x"})
    CHECK_ERROR(FindProtocol(name), "unknown protocol");
  CHECK_ERROR(FindProtocol("gptq-1"), "windows of 2 to", "found 1");
  CHECK_ERROR(FindProtocol("llamacpp-3"), "windows of 4 to", "found 3");
}

TEST_CASE("protocol: a window beyond the context is refused, or the name says what was read") {
  for (const char* name : {"gptq-4096", "llamacpp-4096", "full-stride-4096"})
    CHECK_ERROR(FitToContext(FindProtocol(name), 2048), name, "the model has 2048");
  CHECK_ERROR(FitToContext(WithWindow(Gptq(), 2048), 512), "gptq-2048 needs a context of 2048",
              "accuracy.window: 512");
  CHECK(FitToContext(Gptq(), 2048).name == "gptq-2048");
  const Protocol cut = FitToContext(Gptq(), 512), stride = FitToContext(FullStride(), 512);
  CHECK(cut.name == "gptq-512");
  CHECK(cut.window == 512);
  CHECK(stride.name == "full-stride");
  CHECK(stride.window == 512);
}

TEST_CASE("JoinRows joins lines by blank lines and empties the blank ones") {
  CHECK(JoinRows("").empty());
  CHECK(JoinRows("a") == "a");
  CHECK(JoinRows("a\n") == "a\n");
  CHECK(JoinRows("a\nb") == "a\n\n\nb");
  CHECK(JoinRows("a\nb\n") == "a\n\n\nb\n");
  CHECK(JoinRows("\n").empty());
  CHECK(JoinRows("\n\n") == "\n\n");
  CHECK(JoinRows("a\n\nb\n") == "a\n\n\n\n\nb\n");
  CHECK(JoinRows(" \n = T = \n \t\nx") == "\n\n = T = \n\n\n\n\nx");
  CHECK(JoinRows("a\n  ") == "a\n\n\n");  // a blank last line without its newline is a row, too
}

TEST_CASE("JoinRows keeps a carriage return in a row, and a line of nothing else is blank") {
  CHECK(JoinRows("a\r\nb\r\n") == "a\r\n\n\nb\r\n");
  CHECK(JoinRows("a\r\n\r\nb") == "a\r\n\n\n\n\nb");
}

TEST_CASE("Tokenize puts BOS first, hashes the ids and places them in the text") {
  const Tokenizer tokenizer = Tokenizer::Load(testing::ReferenceModel("wikilm-2m"));
  const std::string text = " = A title = \n\n Some words , twice : some words .\n";
  for (const Protocol& protocol : Protocols()) {
    INFO(protocol.name);
    const TokenStream stream = Tokenize(protocol, text, tokenizer, 7);
    Ids expected = tokenizer.Encode(protocol.join_rows ? JoinRows(text) : text);
    expected.insert(expected.begin(), 7);
    CHECK(stream.ids == expected);
    std::string bytes;
    for (uint32_t id : expected) {
      for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(id >> shift & 0xff);
    }
    CHECK(stream.sha256 == Sha256Hex(bytes));
    CHECK(stream.bos == 7u);
    CHECK(stream.text == (protocol.join_rows ? JoinRows(text) : text));
    REQUIRE(stream.bytes_before.size() == stream.ids.size() + 1);
    CHECK(stream.bytes_before[1] == 0);  // BOS stands for no text
    CHECK(stream.bytes_before.back() == stream.text.size());
    REQUIRE(stream.words_before.size() == stream.ids.size() + 1);
    CHECK(stream.words_before.back() == 12);
  }
  CHECK(Tokenize(Gptq(), text, tokenizer, 7).sha256 != Tokenize(Gptq(), text, tokenizer, 8).sha256);
  CHECK(Tokenize(Gptq(), "", tokenizer, 7).ids == Ids{7});
  CHECK(Tokenize(Gptq(), "\ta\vb\fc\r\nd  e ", tokenizer, 7).words_before.back() == 5);
}

TEST_CASE("Tokenize puts no BOS where none is to be put, and llamacpp leaves each chunk as it is") {
  const Tokenizer tokenizer = Tokenizer::Load(testing::ReferenceModel("wikilm-2m"));
  const std::string text = SampleText().substr(0, 4000);
  for (const Protocol& protocol : Protocols()) {
    INFO(protocol.name);
    const TokenStream stream = Tokenize(protocol, text, tokenizer, std::nullopt);
    CHECK(stream.ids == tokenizer.Encode(protocol.join_rows ? JoinRows(text) : text));
    CHECK_FALSE(stream.bos.has_value());
  }
  TokenStream stream = Counting(1024);
  stream.bos.reset();
  CHECK(WindowIds(LlamaCpp(), stream, {512, 512, 257}).front() == 1512);
}

TEST_CASE("the scored text is what the scored tokens stand for") {
  const Tokenizer tokenizer = Tokenizer::Load(testing::ReferenceModel("wikilm-2m"));
  const std::string text = SampleText().substr(0, 4000);
  for (const Protocol& protocol : Protocols()) {
    INFO(protocol.name);
    const TokenStream stream = Tokenize(protocol, text, tokenizer, 7);
    const ScoredText all =
        MeasureScoredText(stream, MakeWindows(FullStride(), stream.ids.size(), 512));
    CHECK(all.bytes == static_cast<double>(stream.text.size()));
    CHECK(all.words == static_cast<double>(stream.words_before.back()));
    // Two halves of a stretch are the whole; what is not scored does not count.
    const std::vector<Window> halves = {{0, 100, 50}, {50, 100, 50}}, whole = {{0, 150, 50}};
    CHECK(MeasureScoredText(stream, halves).bytes == MeasureScoredText(stream, whole).bytes);
    CHECK(MeasureScoredText(stream, whole).bytes < all.bytes);
  }
}

TEST_CASE("unknown tokens are counted in the windows, by tokens and by the text that they hide") {
  const testing::TempDir dir;
  testing::WriteLetterTokenizer(dir.path());
  const Tokenizer tokenizer = Tokenizer::Load(dir.path());
  // 1 BOS, a space, 8 letters; then 40 characters of 3 bytes, which are one token.
  std::string text = "abcdefgh";
  for (int i = 0; i < 40; ++i) text += "\xe6\x97\xa5";
  const TokenStream stream = Tokenize(LlamaCpp(), text, tokenizer, 1);
  REQUIRE(stream.ids.size() == 11);
  const std::vector<Window> all = {{0, 11, 1}}, letters = {{0, 10, 1}};
  const UnknownShare unknown = MeasureUnknown(stream, all);
  CHECK(unknown.tokens == Approx(1.0 / 11));
  CHECK(unknown.bytes == Approx(120.0 / 128));
  CHECK(unknown.TooMuch());
  CHECK(MeasureUnknown(stream, letters).tokens == 0);
  CHECK_FALSE(MeasureUnknown(stream, letters).TooMuch());
  CHECK_FALSE(UnknownShare{0.01, 0}.TooMuch());
  CHECK(UnknownShare{0.001, 0.02}.TooMuch());  // few tokens may hide much text
}

TEST_CASE("Tokenize gives the pinned tokens of the bundled text") {
  const Tokenizer tokenizer = Tokenizer::Load(testing::ReferenceModel("wikilm-2m"));
  const std::string text = SampleText();
  const TokenStream joined = Tokenize(Gptq(), text, tokenizer, *tokenizer.bos_id());
  CHECK(joined.ids.size() == 15794);
  CHECK(joined.sha256 == "c95a54eed343d270472012027122cfa49505b2d27a6f4ec31cc5698635a79c5b");
  const TokenStream raw = Tokenize(LlamaCpp(), text, tokenizer, *tokenizer.bos_id());
  CHECK(raw.ids.size() == 15487);
  CHECK(raw.sha256 == "ccb8966486c301e17bee9caaad2d6d691f12c085872b5358ce46d76242db8df0");
  CHECK(Tokenize(FullStride(), text, tokenizer, *tokenizer.bos_id()).ids == raw.ids);
}

TEST_CASE(
    "gptq-2048: whole windows side by side, the tail dropped, all but the first token count") {
  for (const auto& [tokens, count] : {std::pair<size_t, size_t>{2048, 1},
                                      {2049, 1},
                                      {4095, 1},
                                      {4096, 2},
                                      {4097, 2},
                                      {9999, 4}}) {
    INFO(tokens);
    const std::vector<Window> windows = MakeWindows(Gptq(), tokens, 8192);
    REQUIRE(windows.size() == count);
    for (size_t w = 0; w < count; ++w) {
      CHECK(windows[w].begin == 2048 * w);
      CHECK(windows[w].length == 2048);
      CHECK(windows[w].first_scored == 1);
      CHECK(windows[w].scored() == 2047);
    }
  }
  // A shorter context shortens the window.
  const std::vector<Window> windows = MakeWindows(Gptq(), 1000, 300);
  REQUIRE(windows.size() == 3);
  CHECK(windows[2].begin == 600);
  CHECK(windows[2].length == 300);
  CHECK(windows[2].scored() == 299);
}

TEST_CASE("gptq-2048: the model reads the stream as it is") {
  const TokenStream stream = Counting(4096);
  const Ids ids = WindowIds(Gptq(), stream, MakeWindows(Gptq(), 4096, 2048)[1]);
  REQUIRE(ids.size() == 2048);
  CHECK(ids.front() == 1000 + 2048);
  CHECK(ids.back() == 1000 + 4095);
}

TEST_CASE("llamacpp-512: the second halves of chunks count") {
  for (const auto& [tokens, count] :
       {std::pair<size_t, size_t>{512, 1}, {513, 1}, {1023, 1}, {1024, 2}, {1025, 2}, {5120, 10}}) {
    INFO(tokens);
    const std::vector<Window> windows = MakeWindows(LlamaCpp(), tokens, 512);
    REQUIRE(windows.size() == count);
    for (size_t w = 0; w < count; ++w) {
      CHECK(windows[w].begin == 512 * w);
      CHECK(windows[w].length == 512);
      CHECK(windows[w].first_scored == 257);  // to position 511, the last
      CHECK(windows[w].scored() == 255);
    }
  }
  CHECK(MakeWindows(LlamaCpp(), 1024, 2048)[0].length == 512);  // a longer context changes nothing
}

TEST_CASE("llamacpp-512: BOS takes the place of each chunk's first token") {
  const TokenStream stream = Counting(1024);
  const std::vector<Window> windows = MakeWindows(LlamaCpp(), 1024, 512);
  Ids expected(stream.ids.begin() + 512, stream.ids.end());
  expected[0] = stream.ids[0];
  CHECK(WindowIds(LlamaCpp(), stream, windows[1]) == expected);
  CHECK(WindowIds(LlamaCpp(), stream, windows[0]) ==
        Ids(stream.ids.begin(), stream.ids.begin() + 512));
}

TEST_CASE("full-stride: by hand") {
  const auto as_text = [](size_t tokens, size_t context) {
    std::string text;
    for (const Window& window : MakeWindows(FullStride(), tokens, context)) {
      text += std::to_string(window.begin) + "+" + std::to_string(window.length) + ":" +
              std::to_string(window.first_scored) + " ";
    }
    return text;
  };
  CHECK(as_text(2, 8) == "0+2:1 ");
  CHECK(as_text(8, 8) == "0+8:1 ");
  CHECK(as_text(9, 8) == "0+8:1 4+5:4 ");
  CHECK(as_text(12, 8) == "0+8:1 4+8:4 ");
  CHECK(as_text(13, 8) == "0+8:1 4+8:4 8+5:4 ");
}

// How often each token of the text is scored, or nothing where a window is not allowed.
std::vector<size_t> TimesScored(size_t tokens, size_t context) {
  std::vector<size_t> times(tokens);
  for (const Window& window : MakeWindows(FullStride(), tokens, context)) {
    if (window.length > context || window.begin + window.length > tokens) return {};
    if (window.first_scored < 1 || window.first_scored >= window.length) return {};
    for (size_t i = window.first_scored; i < window.length; ++i) ++times[window.begin + i];
  }
  return times;
}

TEST_CASE(
    "full-stride: every token but the first counts exactly once, with half a context before it") {
  size_t wrong = 0;
  for (size_t context = 2; context <= 40; ++context) {
    for (size_t tokens = 2; tokens <= 130; ++tokens) {
      std::vector<size_t> expected(tokens, 1);
      expected[0] = 0;
      wrong += TimesScored(tokens, context) != expected;
      for (const Window& window : MakeWindows(FullStride(), tokens, context))
        wrong += window.begin > 0 && window.first_scored < context / 2;
    }
  }
  CHECK(wrong == 0);
  std::vector<size_t> expected(362'319, 1);
  expected[0] = 0;
  CHECK((TimesScored(362'319, 2048) == expected));
}

TEST_CASE("windows: texts too short for one are errors") {
  CHECK_NOTHROW(MakeWindows(Gptq(), 2048, 2048));
  CHECK_ERROR(MakeWindows(Gptq(), 2047, 2048), "accuracy.dataset", "at least 2048 tokens",
              "gptq-2048", "found 2047");
  CHECK_ERROR(MakeWindows(Gptq(), 99, 100), "at least 100 tokens", "found 99");
  CHECK_ERROR(MakeWindows(LlamaCpp(), 511, 2048), "at least 512 tokens", "found 511");
  CHECK_ERROR(MakeWindows(FullStride(), 1, 2048), "at least 2 tokens", "found 1");
  CHECK_NOTHROW(MakeWindows(FullStride(), 2, 2048));
}

TEST_CASE("windows: llamacpp-512 needs a context of 512") {
  CHECK_NOTHROW(MakeWindows(LlamaCpp(), 512, 512));
  CHECK_ERROR(MakeWindows(LlamaCpp(), 512, 511), "accuracy.protocol", "context of 512",
              "the model has 511");
}

}  // namespace
}  // namespace quantref
