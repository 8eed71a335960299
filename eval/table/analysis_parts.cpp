#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "eval/record/pairing.h"
#include "eval/table/analyses.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

constexpr const char* kTokenErrors[] = {
    "accuracy.mean_nll_independent_se", "accuracy.delta_nll_independent_se",
    "accuracy.kl_independent_se", "accuracy.top1_independent_se"};

// Of a field that is a number; 0 where the record has none.
double NumberOf(const TableRecord& record, const std::string& field) {
  const std::string& text = record.Field(field);
  double number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<BlockSum> BlocksOf(const std::vector<double>& sums, const std::vector<double>& scored) {
  std::vector<BlockSum> blocks;
  for (size_t w = 0; w < sums.size(); ++w) blocks.push_back({sums[w], scored[w]});
  return blocks;
}

}  // namespace

std::vector<std::string> CellNameFields() { return {"model", "protocol", "scheme", "method"}; }

std::vector<std::string> CellNames(const TableRecord& record) {
  std::vector<std::string> names;
  for (const std::string& field : CellNameFields()) names.push_back(record.Field(field));
  for (std::string& name : names) {
    if (name == "none") name = "-";
  }
  return names;
}

std::vector<std::string> QuantityFields() {
  return {std::begin(kTokenErrors), std::end(kTokenErrors)};
}

std::vector<WindowQuantity> QuantitiesOf(const TableRecord& record) {
  const StoredRecord& stored = record.stored;
  const std::vector<double>& scored = stored.window_scored;
  if (stored.cell.reference)
    return {{"NLL", BlocksOf(stored.window_nll, scored), NumberOf(record, kTokenErrors[0])}};
  std::vector<WindowQuantity> quantities = {
      {"ΔNLL", DifferenceBlocks(stored.window_nll, stored.reference_window_nll, scored),
       NumberOf(record, kTokenErrors[1])}};
  const std::pair<const char*, const char*> others[] = {{"KL", "accuracy.window_kl"},
                                                        {"same top-1", "accuracy.window_same_top"}};
  for (size_t i = 0; i < std::size(others); ++i) {
    const auto sums = record.windows.find(others[i].second);
    if (sums == record.windows.end() || sums->second.empty()) continue;
    quantities.push_back(
        {others[i].first, BlocksOf(sums->second, scored), NumberOf(record, kTokenErrors[2 + i])});
  }
  return quantities;
}

RecordGroups ByWindows(const TableRecords& records) {
  std::map<std::vector<std::string>, std::vector<const TableRecord*>> groups;
  for (const TableRecord& record : records.records) {
    if (record.synthetic) continue;
    const std::string windows = std::to_string(record.stored.window_nll.size());
    groups[{record.Field("model"), record.Field("protocol"), windows, record.text_sha256}]
        .push_back(&record);
  }
  if (groups.empty())
    throw Error("expected records that read a text, found synthetic models alone", "records");
  return {groups.begin(), groups.end()};
}

void RequireSameWindows(const std::vector<const TableRecord*>& records) {
  for (const TableRecord* record : records) {
    const auto other = OtherWindows(records[0]->stored, record->stored);
    if (!other) continue;
    throw Error(fmt::format("expected records of the same windows, found another {}: {} and {}",
                            other->what, other->baseline, other->candidate),
                fmt::format("records {} and {}", records[0]->stored.id, record->stored.id),
                "choose with 'where'");
  }
}

std::string RangeText(const std::vector<double>& values, size_t digits) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const std::string low = fmt::format("{:.{}f}", *least, digits);
  const std::string high = fmt::format("{:.{}f}", *most, digits);
  return low == high ? low : low + " to " + high;
}

}  // namespace quantref
