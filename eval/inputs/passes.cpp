#include "eval/inputs/passes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace quantref {
namespace {

bool SameMethod(const GroupCell& a, const GroupCell& b) {
  return a.config == b.config && a.spec == b.spec;
}

bool OfStudy(const GroupCell& cell) { return !cell.config->study.empty(); }

// What of a config is to be measured: what is not finished, behind its reference, finished or not.
Pass ToMeasure(const std::vector<GroupCell>& cells, const RunConfig* config) {
  Pass pass;
  bool any = false;
  for (const GroupCell& cell : cells) {
    if (cell.config != config || (cell.spec != nullptr && cell.finished)) continue;
    pass.push_back(cell);
    any = any || cell.Recorded();
  }
  return any ? pass : Pass();
}

}  // namespace

void MarkFinished(const FinishedCells& finished, bool resumed,
                  const std::function<SoughtCell(const GroupCell&)>& sought,
                  std::vector<GroupCell>& cells) {
  for (GroupCell& cell : cells) {
    cell.sought = OfStudy(cell) || resumed;
    if (cell.sought) cell.why = finished.WhyUnfinished(sought(cell));
  }
  for (GroupCell& cell : cells) {
    cell.finished = cell.sought && std::all_of(cells.begin(), cells.end(), [&](const auto& other) {
                      const bool together =
                          OfStudy(cell) ? SameMethod(cell, other) : !OfStudy(other);
                      return !together || other.why.empty();
                    });
  }
}

std::vector<Pass> SplitIntoPasses(const std::vector<GroupCell>& cells,
                                  const std::function<bool(const Pass&)>& fits) {
  std::vector<Pass> passes;
  const RunConfig* config = nullptr;
  for (const GroupCell& cell : cells) {
    if (cell.config == config) continue;
    config = cell.config;
    const Pass own = ToMeasure(cells, config);
    if (own.empty()) continue;
    Pass both = passes.empty() ? Pass() : passes.back();
    both.insert(both.end(), own.begin(), own.end());
    if (!passes.empty() && fits(both)) {
      passes.back() = std::move(both);
    } else {
      passes.push_back(own);
    }
  }
  return passes;
}

std::string FinishedText(const std::vector<GroupCell>& cells, std::string_view folder) {
  size_t done = 0, all = 0;
  std::map<std::string, size_t> reasons;
  for (const GroupCell& cell : cells) {
    if (!cell.sought) continue;
    ++all;
    done += cell.finished;
    if (OfStudy(cell) && !cell.why.empty() && cell.why != kNoRecord) ++reasons[cell.why];
  }
  std::string text;
  if (done > 0) {
    text += fmt::format(
        "{} of {} cells are finished: records of the same config, weights, tokens, build and "
        "machine stand in {} (--rerun measures them again){}\n",
        done, all, folder, done < all ? "; the reference is computed all the same" : "");
  }
  for (const auto& [reason, count] : reasons)
    text +=
        fmt::format("{} of {} cells have a record that does not count: {}\n", count, all, reason);
  return text;
}

}  // namespace quantref
