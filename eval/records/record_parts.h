#pragma once

#include "eval/accuracy/kernel_path.h"
#include "eval/accuracy/summary.h"
#include "eval/config/run_config.h"
#include "eval/cost/environment.h"
#include "eval/facts/group_result.h"
#include "eval/facts/scheme_json.h"
#include "eval/speed/speed.h"

// What records of all kinds are made of; for the files that make them.

namespace quantref {

RecordJson BeginRecord(const RunConfig& config);  // schema, tool, config
// Method, scheme, path with the gap between paths, bits.
void PutMethod(RecordJson& record, const CellResult& cell);
void PutPath(RecordJson& record, const CellResult& cell);  // how codes are multiplied, and the gap
// What the cell's budget became; nothing of a cell without one.
void PutBudget(RecordJson& record, const GroupResult& group, const CellResult& cell);
void PutCandidate(RecordJson& record, const CellResult& cell);  // the same of a candidate
// Into the record's `accuracy`, what KeptDivergences gave; nothing where they were not asked for.
void PutKeptLogits(RecordJson& accuracy, const MeasuredWindows& measured);
void PutLedger(RecordJson& record, const GroupResult& group, const CellResult& cell);
// Of which text samples were drawn; how much of it is unknown to the tokenizer and in the test
// text.
RecordJson SourceJson(const CalibrationSet& set);
void PutOverlap(const GroupResult& group, const CalibrationSet& set, RecordJson& json);
void PutSpeed(RecordJson& record, const CellSpeed& speed, const Environment& environment);
void PutEnvironment(RecordJson& record, const Environment& environment);
void PutMemory(RecordJson& record);  // of the process, until then

}  // namespace quantref
