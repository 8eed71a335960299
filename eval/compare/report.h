#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "eval/compare/cells.h"
#include "eval/compare/gate.h"

namespace quantref {

// A comparison as people read it and as other programs do. Pure functions of what was compared.

// "11 of 12 cells judged: 1 worse, 1 cannot tell, 10 same": how many cells each verdict has; where
// there are speeds, "accuracy: ...; speed: 4 of 4 rates judged: 1 worse, 3 same".
std::string SummaryLine(const RecordComparison& comparison);

// "gate: passed", or how many cells fail it; a gate that passes says what it did not judge.
std::string GateLine(const RecordComparison& comparison, const Gate& gate);

// For a terminal whose lines hold `width` characters (nothing: any). The gate's line is there where
// a gate was asked for.
std::string ComparisonText(const RecordComparison& comparison, const Gate& gate, bool gated,
                           std::optional<size_t> width = std::nullopt);

// For a pull request: the summary, what is not the same, the rest folded away.
std::string ComparisonMarkdown(const RecordComparison& comparison, const Gate& gate, bool gated);

// Sections of a page: tables of all cells that its script can sort (html_table.h).
std::string ComparisonHtml(const RecordComparison& comparison);

// results/comparing.md has the schema.
std::string ComparisonJson(const RecordComparison& comparison, const Gate& gate, bool gated);

// JUnit XML: a cell is a test case, its speed another, with their figures and the time that
// measuring took; each fails if it fails the gate, and is skipped where it was not judged.
std::string ComparisonJUnit(const RecordComparison& comparison, const Gate& gate);

}  // namespace quantref
