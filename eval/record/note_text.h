#pragma once

#include <string>

#include "eval/record/reader_fields.h"

namespace quantref {

// An element of `candidate.notes` or `model.foreign.notes`: "with a scale of 0: 12 groups",
// "settings not known: 1 setting"; of one that counts nothing what it says alone.
std::string NoteText(const RecordFields& note);

}  // namespace quantref
