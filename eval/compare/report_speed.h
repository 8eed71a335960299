#pragma once

#include <string>
#include <vector>

#include "eval/compare/cells.h"
#include "eval/compare/report_table.h"

namespace quantref {

// The part of a comparison's tables that is about speed.

struct SpeedRow {
  const ComparedCell* cell;
  const RateFinding* rate;
};

// Of every cell that has speeds, the most alarming first.
std::vector<SpeedRow> SpeedRows(const RecordComparison& comparison);

ReportTable MakeSpeedTable(const std::vector<SpeedRow>& rows);

// "1 worse, 10 same": of the rates; "" where there are none.
std::string SpeedSummary(const std::vector<SpeedRow>& rows);

inline constexpr char kSpeedLegend[] =
    "ratio: tokens a second of the candidate over those of the baseline, with its 95 % interval "
    "(Mann-Whitney); kernel: the product whose time moved most with it";

}  // namespace quantref
