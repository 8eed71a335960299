#pragma once

#include <string_view>
#include <vector>

#include "eval/record/schema.h"

namespace quantref {

// The parts of RecordSchema(), for schema.cpp.
std::vector<RecordField> RunFields();         // what ran, on what, how
std::vector<RecordField> CandidateFields();   // a checkpoint that another tool made
std::vector<RecordField> TextFields();        // dataset, protocol, calibration
std::vector<RecordField> AccuracyFields();    // accuracy, hashes, layers
std::vector<RecordField> KeptLogitsFields();  // divergences from logits that were kept
std::vector<RecordField> LedgerFields();      // where a cell's change comes from
std::vector<RecordField> SpeedFields();       // throughput
std::vector<RecordField> MachineFields();     // environment, seconds, memory

inline constexpr FieldStamp kDecodesStamp = {
    'D', "DECODES codes for every product: not the format's speed", true, true};

// Rows with something more.
inline RecordField Named(RecordField field, std::string_view alias) {
  field.alias = alias;
  return field;
}

inline RecordField Stamped(RecordField field, const FieldStamp& stamp) {
  field.stamp = stamp;
  return field;
}

inline RecordField Shown(RecordField field, const FieldMetric& metric) {
  field.metric = metric;
  return field;
}

}  // namespace quantref
