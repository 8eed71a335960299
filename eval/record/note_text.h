#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/record/reader_fields.h"

namespace quantref {

// An element of `candidate.notes` or `model.foreign.notes`: "with a scale of 0: 12 groups",
// "settings not known: 1 setting"; of one that counts nothing what it says alone.
std::string NoteText(const RecordFields& note);

// Those of the list at `path`, of either kind: where the numbers may be others than whoever made
// the file meant, so that every figure is in doubt, and the others.
struct NoteTexts {
  std::vector<std::string> doubts, told;
};
NoteTexts NotesAt(const RecordFields& fields, const std::string& path);

inline constexpr char kCandidateNotes[] = "candidate.notes";
inline constexpr char kReferenceNotes[] = "model.foreign.notes";

// "q4: NUMBERS IN DOUBT: with a scale of 0: 12 groups; ...".
std::string DoubtText(std::string_view whose, const std::vector<std::string>& doubts);

// All that is noticed of a record's candidate, a line each, that with the doubts first; none of
// other records.
std::vector<std::string> CandidateNotes(const RecordFields& fields);

}  // namespace quantref
