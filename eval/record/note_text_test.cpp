#include "eval/record/note_text.h"

#include <catch2/catch.hpp>

#include "harness/io/json_reader.h"

namespace quantref {
namespace {

std::string NoteOfJson(const std::string& json) {
  const JsonDocument document = JsonDocument::Parse(json, "note");
  return NoteText(RecordFields(document.root(), "note"));
}

TEST_CASE("note_text: one is one, and many are many") {
  CHECK(NoteOfJson(R"({"what": "odd", "count": 1, "of": "matrices"})") == "odd: 1 matrix");
  CHECK(NoteOfJson(R"({"what": "odd", "count": 2, "of": "matrices"})") == "odd: 2 matrices");
  CHECK(NoteOfJson(R"({"what": "odd", "count": 1, "of": "settings"})") == "odd: 1 setting");
  CHECK(NoteOfJson(R"({"what": "odd", "count": 1234, "of": "groups"})") == "odd: 1,234 groups");
  CHECK(NoteOfJson(R"({"what": "odd", "count": 1})") == "odd");
  CHECK(NoteOfJson(R"({"what": "odd", "count": 3})") == "odd: 3 times");
}

TEST_CASE("note_text: doubts stand before what is only told, in one line") {
  const JsonDocument document = JsonDocument::Parse(
      R"({"method": "q4", "candidate": {"notes": [
            {"what": "settings", "count": 2},
            {"what": "probably MISREAD", "count": 3, "of": "matrices", "doubtful": true},
            {"what": "with a scale of 0", "count": 1, "of": "groups", "doubtful": true}]}})",
      "record");
  const RecordFields fields(document.root(), "record");
  CHECK(CandidateNotes(fields) ==
        std::vector<std::string>{
            "q4: NUMBERS IN DOUBT: probably MISREAD: 3 matrices; with a scale of 0: 1 group",
            "q4: settings: 2 times"});
  CHECK(NotesAt(fields, kReferenceNotes).doubts.empty());
}

}  // namespace
}  // namespace quantref
