#include "eval/record/note_text.h"

#include <fmt/format.h>

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

std::string NoteText(const RecordFields& note) {
  const auto count = static_cast<size_t>(note.NotNegative("count"));
  if (count == 1 && !note.Has("of")) return note.Text("what");
  return fmt::format("{}: {}", note.Text("what"), Counted(count, note.TextOr("of", "times")));
}

}  // namespace quantref
