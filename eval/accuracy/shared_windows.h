#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/accuracy/accuracy.h"
#include "eval/accuracy/journal.h"
#include "eval/accuracy/measure.h"
#include "eval/team/workers.h"

namespace quantref {

// A window's scores as bytes; false where the bytes are none of so many models.
std::string EncodeEntry(size_t window, std::span<const WindowScores> scores);
bool DecodeEntry(std::string_view payload, size_t models, JournalEntry& entry);

// Evaluate (accuracy.h), Measure (measure.h) by the processes of a run together. The scores are the
// same bits for any number of them.

// Of several processes those beside the first measure what it hands out, until it dismisses them,
// and give it the scores: `chosen`, `table`, `seconds` and the callback on_window are its own.
void EvaluateShared(std::span<const Subject* const> models, const Protocol& protocol,
                    const TokenStream& stream, std::span<const Window> windows,
                    std::span<const size_t> chosen, const EvaluateOptions& options,
                    Workers& workers, ScoreTable& table, std::vector<double>& seconds);

// The first's.
Measurement MeasureShared(std::span<const Subject* const> models, const Protocol& protocol,
                          const TokenStream& stream, std::span<const Window> windows,
                          const MeasureOptions& options, Workers& workers);

// The others', with the same arguments: measures what the first hands out, and gives it the scores,
// until it has all that it needs.
void MeasureForFirst(std::span<const Subject* const> models, const Protocol& protocol,
                     const TokenStream& stream, std::span<const Window> windows,
                     const MeasureOptions& options, Workers& workers);

}  // namespace quantref
