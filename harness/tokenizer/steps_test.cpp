// The parts of a pipeline: patterns, normalizers, splits, merges.

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "harness/base/rng.h"
#include "harness/testing/testing.h"
#include "harness/tokenizer/added_tokens.h"
#include "harness/tokenizer/merges.h"
#include "harness/tokenizer/normalizer.h"
#include "harness/tokenizer/splitter.h"

namespace quantref {
namespace {

using Texts = std::vector<std::string>;
using SplitBehavior = SplitByPattern::Behavior;

TracedText Given(const std::string& text) { return {text, {}, 0}; }

Texts Found(const std::string& expression, const std::string& text) {
  Texts found;
  for (const Span& match : Pattern::Regex(expression, "p").FindAll(text))
    found.push_back(text.substr(match.begin, match.size()));
  return found;
}

Texts SplitAs(const std::vector<SplitStep>& steps, const std::string& text, bool first = true) {
  const Pieces pieces = SplitText(steps, Given(text), first);
  Texts texts;
  for (const Span& span : pieces.spans) texts.emplace_back(pieces.text.At(span));
  return texts;
}

TEST_CASE("pattern: classes are Unicode's, as Oniguruma has them") {
  CHECK(Found("\\s", "a\xe1\xa0\x8e\xc2\x85\xe3\x80\x80") == Texts{"\xc2\x85", "\xe3\x80\x80"});
  CHECK(Found("\\S", "\xe1\xa0\x8e ") == Texts{"\xe1\xa0\x8e"});
  CHECK(Found("[^\\s]+", "ab \xe1\xa0\x8e") == Texts{"ab", "\xe1\xa0\x8e"});
  CHECK(Found("\\w+", "e\xcc\x81_1\xc2\xbd") == Texts{"e\xcc\x81_1\xc2\xbd"});
  CHECK(Found("[\\w]+", "\xc2\xbd_\xe2\x85\xa7") == Texts{"_\xe2\x85\xa7"});
  CHECK(Found("\\p{Han}+", "\xe4\xba\xac\xe3\x80\x81") == Texts{"\xe4\xba\xac"});
  CHECK(Found("\\b\\d", "1a 2\xcc\x81") == Texts{"1", "2"});
  CHECK(Found("(?i:'s)", "'\xc5\xbf") == Texts{"'\xc5\xbf"});
  CHECK(Found("x|(?i)b|C|[|](?:(?i)d|\\()", "bBcXx|D|(") == Texts{"b", "B", "c", "x", "|D", "|("});
  CHECK(Found("a+$", "aa\nba") == Texts{"aa", "a"});
  CHECK(Found("[]a]+\\x{62}+", "]abb") == Texts{"]abb"});
}

TEST_CASE("pattern: empty matches stand once, and not right behind another one") {
  std::vector<size_t> at;
  for (const Span& match : Pattern::Regex("b*", "p").FindAll("abba")) {
    at.push_back(match.begin);
    at.push_back(match.end);
  }
  CHECK(at == std::vector<size_t>{0, 0, 1, 3, 4, 4});
}

TEST_CASE("splitter: every behavior, and its inversion") {
  const auto split = [](SplitBehavior behavior, bool invert = false) {
    return SplitAs({SplitByPattern{Pattern::Text("-"), behavior, invert}}, "the-final--cut-");
  };
  CHECK(split(SplitBehavior::kRemoved) == Texts{"the", "final", "cut"});
  CHECK(split(SplitBehavior::kIsolated) == Texts{"the", "-", "final", "-", "-", "cut", "-"});
  CHECK(split(SplitBehavior::kMergedWithPrevious) == Texts{"the-", "final-", "-", "cut-"});
  CHECK(split(SplitBehavior::kMergedWithNext) == Texts{"the", "-final", "-", "-cut", "-"});
  CHECK(split(SplitBehavior::kContiguous) == Texts{"the", "-", "final", "--", "cut", "-"});
  CHECK(split(SplitBehavior::kRemoved, true) == Texts{"-", "-", "-", "-"});
}

TEST_CASE("splitter: marks for spaces, before the text as the scheme says") {
  const auto marked = [](MarkSpaces::Prepend prepend, const std::string& text, bool first) {
    return SplitAs({MarkSpaces{"_", prepend, true}}, text, first);
  };
  CHECK(marked(MarkSpaces::Prepend::kAlways, "a b", false) == Texts{"_a", "_b"});
  CHECK(marked(MarkSpaces::Prepend::kFirst, "a b", false) == Texts{"a", "_b"});
  CHECK(marked(MarkSpaces::Prepend::kFirst, "a b", true) == Texts{"_a", "_b"});
  CHECK(marked(MarkSpaces::Prepend::kNever, " a  b", true) == Texts{"_a", "_", "_b"});
  CHECK(marked(MarkSpaces::Prepend::kAlways, " a", true) == Texts{"_a"});
  CHECK(SplitAs({PrefixSpace{}}, "a") == Texts{" a"});
  CHECK(SplitAs({PrefixSpace{}}, " a") == Texts{" a"});
}

TracedText NormalizedOf(const std::vector<NormalizerStep>& steps, TracedText text) {
  GrowthLimit limit(text.text.size(), "n");
  return Normalized(steps, std::move(text), limit);
}

TEST_CASE("normalizer: what is made is traced to where it comes from") {
  const TracedText composed = NormalizedOf({ComposeText{}}, Given("xe\xcc\x81y"));
  CHECK(composed.text == "x\xc3\xa9y");
  CHECK(composed.origins == std::vector<uint32_t>{0, 1, 1, 4});
  const TracedText hangul =
      NormalizedOf({ComposeText{}}, Given("\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8\xc3\xa9"));
  CHECK(hangul.text == "\xea\xb0\x81\xc3\xa9");
  CHECK(hangul.origins == std::vector<uint32_t>{0, 0, 0, 9, 10});
  const TracedText replaced = NormalizedOf(
      {PrependText{"_"}, ReplaceText{Pattern::Text(" "), "_"}, ReplaceText{Pattern::Text("b"), ""}},
      Given("a b c"));
  CHECK(replaced.text == "_a__c");
  CHECK(replaced.origins == std::vector<uint32_t>{0, 0, 1, 3, 4});
  CHECK(NormalizedOf({PrependText{"_"}}, Given("")).text.empty());
  // Each step puts a thousand for one; what would not fit is not made.
  const std::vector<NormalizerStep> grows(20,
                                          ReplaceText{Pattern::Text("a"), std::string(1000, 'a')});
  CHECK_ERROR(NormalizedOf(grows, Given("a")), "n: the normalizer makes", "1000000 bytes of 1");
  const std::string much(70'000, 'b');
  CHECK_ERROR(NormalizedOf({PrependText{much}}, Given("a")), "makes 70001 bytes of 1");
  // Of a text in stretches, all of them together.
  GrowthLimit limit(10, "n");
  const std::vector<NormalizerStep> prepends = {PrependText{std::string(40'000, 'b')}};
  CHECK(Normalized(prepends, Given("a"), limit).text.size() == 40'001);
  CHECK_ERROR(Normalized(prepends, Given("a"), limit), "makes 80002 bytes of 10");
}

TEST_CASE("added tokens: the leftmost, of these the longest") {
  const AddedTokens tokens({{"ab", 1}, {"abc", 2}, {"bcd", 3}, {"\n", 4}, {"\n\n", 5}});
  std::vector<uint32_t> ids;
  Texts between;
  const std::string text = "xabcd\n\n\nab";
  for (const auto& stretch : tokens.Cut(text)) {
    if (stretch.id) {
      ids.push_back(*stretch.id);
    } else {
      between.push_back(text.substr(stretch.span.begin, stretch.span.size()));
    }
  }
  CHECK(ids == std::vector<uint32_t>{2, 5, 4, 1});
  CHECK(between == Texts{"x", "d"});
}

TEST_CASE("merges: the heap does what the scan does") {
  Rng rng(3);
  for (int round = 0; round < 300; ++round) {
    MergeTable merges;
    const auto symbols = static_cast<uint32_t>(2 + rng.Below(4));
    uint32_t next = symbols;
    for (int i = 0; i < 30; ++i) {
      // Ranks repeat: of equals the leftmost merges.
      const auto rank = static_cast<uint32_t>(rng.Below(8));
      next += merges.Add(static_cast<uint32_t>(rng.Below(next)),
                         static_cast<uint32_t>(rng.Below(next)), {rank, next})
                  ? 1
                  : 0;
    }
    std::vector<Symbol> scanned(rng.Below(80));
    for (Symbol& symbol : scanned)
      symbol = {static_cast<uint32_t>(rng.Below(symbols)), static_cast<uint32_t>(1 + rng.Below(3))};
    std::vector<Symbol> heaped = scanned;
    MergeByScan(merges, scanned);
    MergeByHeap(merges, heaped);
    if (scanned != heaped) FAIL("round " << round);
  }
  SUCCEED();
}

}  // namespace
}  // namespace quantref
