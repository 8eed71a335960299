#pragma once

#include <string>
#include <vector>

#include "eval/run/record.h"

namespace quantref {

// What people are told of the texts that a group read. Pure functions of what was read; each line
// with its end, "" where there is nothing to say.

// The stamp of a test text that the tokenizer cannot spell.
std::string TestTextLine(const GroupResult& group);

// One line for each calibration set that methods of these cells read, and its stamps.
std::string CalibrationLines(const GroupResult& group, const std::vector<CellResult>& cells);

// The loud notice that a calibration set is less than was asked for.
std::string CalibrationWarning(const CalibrationSet& set);

// The loud notice that the bundled text stands in for the data set that was asked for.
std::string SampleWarning(const Text& text);

}  // namespace quantref
