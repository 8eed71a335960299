#include "eval/table/results_ledger.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/support/text_table.h"
#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using testing::Contains;
using testing::TableSample;
using Json = nlohmann::json;

Json Mean(const std::string& key, double mean, double half) {
  return {{key, mean}, {key + "_ci95", {mean - half, mean + half}}};
}

Json Part(const char* name, double mean) {
  Json part = {{"name", name}};
  part.update(Mean("delta_nll", mean, 0.0012));
  part.update(Mean("kl", mean / 2, 0.00034));
  return part;
}

Json Item(const std::string& name, const char* of, double mean) {
  Json item = {{"name", name}, {"of", of}};
  for (const std::string run : {"alone_", "won_"}) {
    item.update(Mean(run + "delta_nll", mean, 0.0012));
    item.update(Mean(run + "kl", mean / 2, 0.00034));
  }
  return item;
}

Result WithLedger(bool test_text = false) {
  Json record = TableSample("rtn", 0.05, 0.01);
  Json blocks = {{"dataset", "wikitext-2"},
                 {"split", "validation"},
                 {"window_index", Json::array()},
                 {"items", Json::array()}};
  for (size_t w = 0; w < 16; ++w) blocks["window_index"].push_back(w);
  if (test_text) blocks["is_test_text"] = true;
  for (const std::string key : {"delta_nll", "block_residual_delta_nll", "kind_residual_delta_nll",
                                "kl", "block_residual_kl", "kind_residual_kl"})
    blocks.update(Mean(key, 0.05, 0.003));
  for (const auto& [name, of, mean] :
       {std::tuple("layers.0", "block", 0.01), std::tuple("layers.11", "block", 0.02),
        std::tuple("self_attn.q_proj+k_proj+v_proj", "kind", 0.004),
        std::tuple("lm_head", "end", 0.015)})
    blocks["items"].push_back(Item(name, of, mean));
  record["ledger"] = {
      {"request", "calibration 16"},
      {"parts", {Part("weights", 0.04), Part("activations", 0.011), Part("kernels", -0.001)}},
      {"delta_nll_residual", 1e-17},
      {"blocks", blocks}};
  return ParseResult(record.dump(), "a record");
}

TEST_CASE("ledger table: parts with shares, then what does most alone first") {
  const std::string text = LedgersText({WithLedger()}, {});
  INFO(text);
  for (const char* part :
       {"ledger of tiny rtn\n", "weight rounding", "0.0400 ± 0.0012", "80.0 %", "kernel arithmetic",
        "but for 1.0e-17 nats", "On 16 windows of wikitext-2 validation", "together beyond it"})
    CHECK(Contains(text, part));
  CHECK_FALSE(Contains(text, "TEST TEXT"));
  const size_t blocks = text.find("\nblock");
  CHECK(text.find("layers.11", blocks) < text.find("lm_head", blocks));
  CHECK(text.find("lm_head", blocks) < text.find("layers.0 ", blocks));
  CHECK(Contains(LedgersText({WithLedger(true)}, {}), "TEST TEXT"));
}

TEST_CASE("ledger table: its lines fit terminals") {
  for (const size_t width : {80u, 120u, 160u}) {
    const std::string text = LedgersText({WithLedger()}, {.width = width});
    INFO(text);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      CHECK(TextWidth(std::string_view(text).substr(begin, end - begin)) <= width);
      begin = end + 1;
    }
    CHECK(Contains(text, "alone: ΔNLL"));
  }
}

TEST_CASE("ledger table: records without one have none") {
  CHECK(LedgersText({ParseResult(TableSample("rtn", 0.05, 0.01).dump(), "a record")}, {}).empty());
}

}  // namespace
}  // namespace quantref
