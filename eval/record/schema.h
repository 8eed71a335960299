#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace quantref {

// What a record is: every field that one may have, as data. Reading and writing, what compare
// blames, what makes a cell finished, what tables can show and name, results/fields.md for people
// and results/fields.json for scripts are queries over this table: a field that is added is one row
// here, and the place where it is measured.

inline constexpr int kRecordSchema = 1;

// How often a config may have a speed measured: so long the record's lists of samples can be.
inline constexpr size_t kMostRepetitions = 1000;

enum class FieldType {
  kText,  // one line
  kFlag,
  kCount,     // a whole number, 0 or more
  kNumber,    // finite; null in the place of what no double holds, from old writers
  kInterval,  // a list of its two ends
  kTexts,     // lists
  kCounts,
  kNumbers,
  kMap,     // its fields are rows, too
  kMaps,    // a list of maps, whose fields are rows with "[]" behind the list's name
  kAnyMap,  // of what stands in it the schema says nothing
};
std::string_view TypeName(FieldType type);
bool IsSingle(FieldType type);  // one value: text, flag, count, number

// Of the records (or of the items of the list) that have the map around the field.
enum class Presence {
  kRequired,            // all
  kRequiredOfText,      // all that read a text: synthetic models have none
  kRequiredOfComplete,  // these, but for those of interrupted runs
  kWritten,  // all that are written; what reads them does without, since older ones lack it
  kWrittenOfText,
  kOptional,  // those where it was measured, or where there is something to say
};

// What a field says, for queries. One may have several.
struct Role {
  enum : unsigned {
    kIdentity = 1 << 0,       // accuracies can be compared where all of these are equal
    kTool = 1 << 1,           // the program
    kRounding = 1 << 2,       // build and machine: another one may round FP32 sums otherwise
    kMachine = 1 << 3,        // the rest of what the machine is
    kSpeedIdentity = 1 << 4,  // speeds can be compared where all of these are equal
    // A run knows it before it measures: a record with another value is no record of its cell.
    kKnown = 1 << 5,
    kNamesRun = 1 << 6,    // tells one run from another in tables
    kPlace = 1 << 7,       // may be a path; of it the last part is shown
    kAsked = 1 << 8,       // code asks for it by name (StoredRecord::Fact)
    kSample = 1 << 9,      // as measured
    kAggregate = 1 << 10,  // follows from samples in the same record
    kMoment = 1 << 11,     // another one each time that the same is measured
  };
};

// Between text and logits, in the order of the work: what differs first explains what differs
// later.
enum class Stage { kNone, kText, kTokens, kCalibration, kWeights, kPackedWeights, kPath, kLogits };
std::string_view StageName(Stage stage);
inline constexpr Stage kStages[] = {Stage::kText,    Stage::kTokens,        Stage::kCalibration,
                                    Stage::kWeights, Stage::kPackedWeights, Stage::kPath,
                                    Stage::kLogits};

// What must be known of a record that says this, everywhere where its figures stand: one in which
// the flag is true, or which has the field. Of a list's items one is enough.
struct FieldStamp {
  char letter = 0;  // 0: none
  std::string_view text{};
  bool of_speed = false;     // else of accuracy
  bool of_rates = false;     // of tokens a second: nothing where the record has none
  std::string_view value{};  // of a text: this one alone; "": whatever it is
};

// How tables show a number.
struct FieldMetric {
  std::string_view name{};      // in specs; "": tables do not show it
  std::string_view header{};    // of its columns
  std::string_view interval{};  // the field that has its 95 % interval
  // The samples that two cells are compared by, so that a best one is marked only where it is one:
  // sums over windows, or rates. "": never marked.
  std::string_view samples{};
  bool larger_is_better = false;
  size_t digits = 2;
  bool is_signed = false;  // "+" is printed
  double factor = 1;       // of the value as the record has it; 100 for percent
  double offset = 0;       // added before the factor: a ratio to a change
};

struct RecordField {
  std::string path;  // dotted: "accuracy.ppl", "layers[].name"
  FieldType type;
  Presence presence;
  std::string unit;     // "": none
  std::string meaning;  // Markdown
  unsigned roles = 0;   // of Role
  Stage stage = Stage::kNone;
  std::string_view alias{};  // a short name for it in specs of tables
  FieldStamp stamp{};
  FieldMetric metric{};

  bool Is(unsigned any_of) const { return (roles & any_of) != 0; }
  bool IsFact() const;            // StoredRecord keeps its value
  bool OnlyOldLack() const;       // every new record that has a text has it
  std::string_view Name() const;  // the last part of the path
};

// In the order of results/fields.md.
const std::vector<RecordField>& RecordSchema();

// nullptr where there is none. `path` as in the table: of items of lists with "[]".
const RecordField* FindField(std::string_view path);

// All that have one of the roles, the stage; in the order of the table.
std::vector<const RecordField*> FieldsWith(unsigned role);
std::vector<const RecordField*> FieldsOf(Stage stage);

// The path that a name of a table's spec stands for: that of an alias, else the name itself.
std::string_view PathOfAlias(std::string_view name);

}  // namespace quantref
