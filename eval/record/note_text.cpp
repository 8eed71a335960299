#include "eval/record/note_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string_view>

#include "eval/support/text_table.h"

namespace quantref {
namespace {

std::string Counted(size_t count, const std::string& many) {
  if (count != 1) return WithThousands(count) + " " + many;
  constexpr std::string_view kManyMatrices = "matrices";
  return "1 " + (many == kManyMatrices ? "matrix" : many.substr(0, many.size() - 1));
}

}  // namespace

NoteTexts NotesAt(const RecordFields& fields, const std::string& path) {
  NoteTexts texts;
  for (const RecordFields& note : fields.Maps(path))
    (note.Flag("doubtful") ? texts.doubts : texts.told).push_back(NoteText(note));
  return texts;
}

std::string DoubtText(std::string_view whose, const std::vector<std::string>& doubts) {
  return fmt::format("{}: NUMBERS IN DOUBT: {}", whose, fmt::join(doubts, "; "));
}

std::vector<std::string> CandidateNotes(const RecordFields& fields) {
  const auto [doubts, told] = NotesAt(fields, kCandidateNotes);
  const std::string label = fields.Text("method");
  std::vector<std::string> lines;
  if (!doubts.empty()) lines.push_back(DoubtText(label, doubts));
  for (const std::string& note : told) lines.push_back(fmt::format("{}: {}", label, note));
  return lines;
}

std::string NoteText(const RecordFields& note) {
  const auto count = static_cast<size_t>(note.NotNegative("count"));
  if (count == 1 && !note.Has("of")) return note.Text("what");
  return fmt::format("{}: {}", note.Text("what"), Counted(count, note.TextOr("of", "times")));
}

}  // namespace quantref
