#include "eval/support/nearest.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace quantref {
namespace {

TEST_CASE("EditDistance counts insertions, deletions, substitutions and swaps") {
  CHECK(EditDistance("", "") == 0);
  CHECK(EditDistance("", "abc") == 3);
  CHECK(EditDistance("abc", "") == 3);
  CHECK(EditDistance("gptq", "gptq") == 0);
  CHECK(EditDistance("gptq", "gpt") == 1);
  CHECK(EditDistance("gptq", "gpqt") == 1);
  CHECK(EditDistance("rtn", "rnt") == 1);
  CHECK(EditDistance("kitten", "sitting") == 3);
  CHECK(EditDistance("sitting", "kitten") == 3);
  CHECK(EditDistance("ca", "abc") == 3);  // swapped letters are not edited again
  CHECK(EditDistance("abcd", "badc") == 2);
}

TEST_CASE("NearestName finds what was meant") {
  const std::vector<std::string> methods = {"rtn", "gptq", "awq", "smoothquant"};
  CHECK(NearestName("gptq", methods) == "gptq");
  CHECK(NearestName("gpqt", methods) == "gptq");
  CHECK(NearestName("GPTQ", methods) == "gptq");
  CHECK(NearestName("rtn2", methods) == "rtn");
  CHECK(NearestName("awk", methods) == "awq");
  CHECK(NearestName("smooth", methods) == "smoothquant");
  CHECK(NearestName("smooth-quant", methods) == "smoothquant");

  const std::vector<std::string> splits = {"test", "validation", "train"};
  CHECK(NearestName("valid", splits) == "validation");
  CHECK(NearestName("tset", splits) == "test");
  CHECK(NearestName("training", splits) == "train");

  CHECK(NearestName("wikitext2", std::vector<std::string>{"sample", "wikitext-2"}) == "wikitext-2");
}

TEST_CASE("NearestName gives nothing rather than a wild guess") {
  const std::vector<std::string> methods = {"rtn", "gptq", "awq", "smoothquant"};
  CHECK(NearestName("", methods).empty());
  CHECK(NearestName("nf4", methods).empty());
  CHECK(NearestName("hqq", methods).empty());
  CHECK(NearestName("x", methods).empty());
  CHECK(NearestName("quip", methods).empty());
  CHECK(NearestName("gptq", std::vector<std::string>{}).empty());
  CHECK(NearestName(std::string(100000, 'g'), methods).empty());
}

TEST_CASE("NearestName takes the nearest, and the first of equals") {
  CHECK(NearestName("group", std::vector<std::string>{"groupsize", "groups", "group"}) == "group");
  CHECK(NearestName("abd", std::vector<std::string>{"abc", "abe"}) == "abc");
}

TEST_CASE("DidYouMean asks or lists") {
  const std::vector<std::string> methods = {"rtn", "gptq", "awq"};
  CHECK(DidYouMean("gpqt", methods) == " (did you mean 'gptq'?)");
  CHECK(DidYouMean("nf4", methods) == " (valid: rtn, gptq, awq)");
  CHECK(DidYouMean("nf4", std::vector<std::string>{}).empty());
}

}  // namespace
}  // namespace quantref
