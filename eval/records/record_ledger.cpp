#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/ledger/block_ledger.h"
#include "eval/records/record_parts.h"
#include "eval/stats/stats.h"

// What a record says of where a cell's change comes from.

namespace quantref {
namespace {

using WindowSums = std::vector<double>;

WindowSums SumsOf(const MeasuredWindows& measured, double WindowScores::*field) {
  WindowSums sums;
  for (const WindowScores* scores : measured.scores) sums.push_back(scores->*field);
  return sums;
}

WindowSums ScoredIn(const MeasuredWindows& measured) {
  WindowSums scored;
  for (const Window& window : measured.windows)
    scored.push_back(static_cast<double>(window.scored()));
  return scored;
}

// The mean of a - b a token, with its interval over windows. Returns the mean.
double PutDifference(RecordJson& json, const std::string& key, const WindowSums& a,
                     const WindowSums& b, const WindowSums& scored) {
  const std::vector<BlockSum> blocks = DifferenceBlocks(a, b, scored);
  json[key] = BlockMean(blocks);
  if (const auto interval = MeanInterval(blocks))
    json[key + "_ci95"] = RecordJson::array({interval->low, interval->high});
  return BlockMean(blocks);
}

// The two quantities that are divided, by the words that field names have of them.
struct Quantity {
  std::string name, samples;
  double WindowScores::*field;
};

std::vector<Quantity> QuantitiesOf(const CellResult& cell) {
  std::vector<Quantity> quantities = {{"delta_nll", "window_nll", &WindowScores::nll}};
  if (cell.config->accuracy.metrics.kl)
    quantities.push_back({"kl", "window_kl", &WindowScores::kl});
  return quantities;
}

// Of each quantity what a step adds to the step before it, and what of the whole they leave.
void PutSteps(RecordJson& json, const GroupResult& group, const CellResult& cell) {
  const MeasuredWindows reference = Measured(group.measurement.scores[0], group.windows);
  const WindowSums scored = ScoredIn(reference);
  const std::vector<LedgerStep>& steps = cell.ledger->steps;
  json["parts"] = RecordJson::array();
  for (const LedgerStep& step : steps) json["parts"].push_back({{"name", step.name}});
  for (const Quantity& of : QuantitiesOf(cell)) {
    const WindowSums first = SumsOf(reference, of.field);
    WindowSums before = first;
    double parts = 0;
    for (size_t s = 0; s < steps.size(); ++s) {
      const WindowSums after = SumsOf(steps[s].measured, of.field);
      RecordJson& part = json["parts"][s];
      parts += PutDifference(part, of.name, after, before, scored);
      part[of.samples] = after;
      before = after;
    }
    json[of.name + "_residual"] = BlockMean(DifferenceBlocks(before, first, scored)) - parts;
  }
}

// Items of one sum, by kinds or by blocks, each with the ends.
bool CountsIn(const LedgerItem& item, LedgerItem::Of sum) {
  return item.of == sum || item.of == LedgerItem::Of::kEnd;
}

// The windows of a ledger's models.
class BlockWindows {
 public:
  explicit BlockWindows(const BlockLedger& ledger)
      : ledger_(ledger), scored_(ScoredIn(RowOf(BlockLedger::kReference))) {}

  const WindowSums& scored() const { return scored_; }
  WindowSums Sums(size_t row, const Quantity& of) const { return SumsOf(RowOf(row), of.field); }

  // What items alone add up to.
  WindowSums SumAlone(LedgerItem::Of sum, const Quantity& of) const {
    const WindowSums reference = Sums(BlockLedger::kReference, of);
    WindowSums all = reference;
    for (size_t i = 0; i < ledger_.items.size(); ++i) {
      if (!CountsIn(ledger_.items[i], sum)) continue;
      const WindowSums alone = Sums(BlockLedger::Alone(i), of);
      for (size_t w = 0; w < all.size(); ++w) all[w] += alone[w] - reference[w];
    }
    return all;
  }

 private:
  MeasuredWindows RowOf(size_t row) const {
    return Measured(ledger_.measurement.scores[row], ledger_.windows);
  }

  const BlockLedger& ledger_;
  const WindowSums scored_;
};

void PutItems(RecordJson& json, const BlockLedger& ledger, const BlockWindows& windows,
              const Quantity& of) {
  const WindowSums reference = windows.Sums(BlockLedger::kReference, of),
                   whole = windows.Sums(BlockLedger::kWhole, of);
  for (size_t i = 0; i < ledger.items.size(); ++i) {
    RecordJson& item = json["items"][i];
    const WindowSums alone = windows.Sums(BlockLedger::Alone(i), of),
                     rest = windows.Sums(BlockLedger::AllBut(i), of);
    PutDifference(item, "alone_" + of.name, alone, reference, windows.scored());
    PutDifference(item, "won_" + of.name, whole, rest, windows.scored());
    item["alone_" + of.samples] = alone;
    item["rest_" + of.samples] = rest;
  }
}

void PutWhole(RecordJson& json, const BlockLedger& ledger, const BlockWindows& windows,
              const Quantity& of) {
  const WindowSums reference = windows.Sums(BlockLedger::kReference, of),
                   whole = windows.Sums(BlockLedger::kWhole, of);
  PutDifference(json, of.name, whole, reference, windows.scored());
  json[of.samples] = whole;
  if (of.field == &WindowScores::nll) json["reference_window_nll"] = reference;
  for (const LedgerItem::Of sum : {LedgerItem::Of::kBlock, LedgerItem::Of::kKind}) {
    const auto counts = [&](const LedgerItem& item) { return item.of == sum; };
    if (std::none_of(ledger.items.begin(), ledger.items.end(), counts)) continue;
    PutDifference(json, std::string(NameOf(sum)) + "_residual_" + of.name, whole,
                  windows.SumAlone(sum, of), windows.scored());
  }
}

RecordJson BlocksJson(const BlockLedger& ledger, const CellResult& cell) {
  RecordJson json = {{"dataset", ledger.dataset}};
  if (!ledger.split.empty()) json["split"] = ledger.split;
  json["sha256"] = ledger.sha256;
  if (ledger.substituted_sample) json["substituted_sample"] = true;
  if (ledger.is_test_text) json["is_test_text"] = true;
  json["token_sha256"] = ledger.token_sha256;
  json["window_index"] = ledger.places;
  const BlockWindows windows(ledger);
  json["window_scored"] = RecordJson::array();
  for (const Window& window : ledger.windows) json["window_scored"].push_back(window.scored());
  json["items"] = RecordJson::array();
  for (const LedgerItem& item : ledger.items)
    json["items"].push_back({{"name", item.name}, {"of", NameOf(item.of)}});
  for (const Quantity& of : QuantitiesOf(cell)) {
    PutWhole(json, ledger, windows, of);
    PutItems(json, ledger, windows, of);
  }
  return json;
}

}  // namespace

void PutLedger(RecordJson& record, const GroupResult& group, const CellResult& cell) {
  const CellLedger& ledger = *cell.ledger;
  RecordJson& json = record["ledger"] = {{"request", ledger.request}};
  PutSteps(json, group, cell);
  if (ledger.blocks == nullptr) return;
  if (!ledger.blocks->left_out.empty()) {
    json["blocks_left_out"] = ledger.blocks->left_out;
  } else if (!ledger.blocks->measurement.interrupted) {
    json["blocks"] = BlocksJson(*ledger.blocks, cell);
  }
}

}  // namespace quantref
