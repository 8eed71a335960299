#include "harness/model/foreign_checkpoint.h"

#include <algorithm>

#include "harness/model/layout.h"

namespace quantref {

void AddNotes(const std::vector<CountedNote>& more, std::vector<CountedNote>& notes) {
  for (const CountedNote& note : more) {
    const auto same = std::find_if(notes.begin(), notes.end(), [&](const CountedNote& other) {
      return other.what == note.what && other.of == note.of;
    });
    if (same == notes.end()) {
      notes.push_back(note);
    } else {
      same->count += note.count;
    }
  }
}

void AddScaleNotes(size_t zero, size_t negative, std::vector<CountedNote>& notes) {
  if (zero > 0) AddNotes({{kScaleOfZero, zero, "groups"}}, notes);
  if (negative > 0)
    AddNotes({{"with a negative scale", negative, "groups", NoteGrade::kDoubt}}, notes);
}

bool MatrixFacts::IsOfBlock() const { return name != kEmbeddingName && name != kHeadName; }

bool MatrixSources::HoldsCodes() const {
  return foreign != nullptr && std::ranges::any_of(found, &MatrixFacts::coded);
}

}  // namespace quantref
