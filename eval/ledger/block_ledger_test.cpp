#include "eval/ledger/block_ledger.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "eval/pass/score_facts.h"
#include "eval/testing/facts_lab.h"

namespace quantref {
namespace {

using testing::FactsLab;

TEST_CASE(
    "block ledger: what its cell, its config, its windows and its items are tells one from another",
    "[block_ledger]") {
  BlockLedger ledger;
  ledger.token_sha256 = "of the tokens";
  ledger.places = {1, 12};
  ledger.items = {{"layers.0", LedgerItem::Of::kBlock}, {"lm_head", LedgerItem::Of::kEnd}};
  std::set<std::string> texts;
  const auto differs = [&](const auto& change) {
    FactsLab lab;
    BlockLedger changed = ledger;
    change(lab, changed);
    CHECK(texts.insert(TextOf(LedgerFacts(lab.group, lab.cells[1], changed))).second);
  };
  differs([](FactsLab&, BlockLedger&) {});
  differs([](FactsLab& lab, BlockLedger&) { lab.cells[1].weights_sha256 = "c"; });
  differs([](FactsLab& lab, BlockLedger&) { lab.cells[1].path.linears = 1; });
  differs([](FactsLab& lab, BlockLedger&) { lab.first.accuracy.window = 4; });
  differs([](FactsLab& lab, BlockLedger&) { lab.MakeCandidate("c"); });
  differs([](FactsLab& lab, BlockLedger&) { lab.MakeCandidate("another"); });
  differs([](FactsLab&, BlockLedger& other) { other.token_sha256 = "of others"; });
  differs([](FactsLab&, BlockLedger& other) { other.places = {11, 2}; });
  differs([](FactsLab&, BlockLedger& other) { other.items.pop_back(); });
}

}  // namespace
}  // namespace quantref
