#include "eval/inputs/replaced.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "eval/config/run_config.h"
#include "eval/inputs/finished.h"

namespace quantref {
namespace {

constexpr char kLedger[] = "ledger.request";

std::string ScoredConfig(const StoredRecord& record) {
  return OwnConfigText(ForScores(record.resolved), record.cell.method);
}

auto WindowAt(const StoredRecord& record, size_t w) {
  return std::tuple(record.window_index[w], record.window_scored[w], record.window_nll[w],
                    record.reference_window_nll[w]);
}

// Both have their windows in the order of the text.
bool HasWindowsOf(const StoredRecord& record, const StoredRecord& part) {
  for (size_t w = 0; w < part.window_index.size(); ++w) {
    const auto found = std::ranges::lower_bound(record.window_index, part.window_index[w]);
    if (found == record.window_index.end()) return false;
    const auto own = static_cast<size_t>(found - record.window_index.begin());
    if (WindowAt(record, own) != WindowAt(part, w)) return false;
  }
  return true;
}

}  // namespace

bool Replaces(const StoredRecord& record, const StoredRecord& interrupted) {
  if (record.id == interrupted.id || record.cell != interrupted.cell) return false;
  const std::string& ledger = interrupted.Fact(kLedger);
  if (ledger != "none" && ledger != record.Fact(kLedger)) return false;
  return HasWindowsOf(record, interrupted) && ScoredConfig(record) == ScoredConfig(interrupted);
}

}  // namespace quantref
