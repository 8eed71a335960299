#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/json_fields.h"
#include "harness/io/tensor.h"
#include "harness/model/foreign_checkpoint.h"

// What the readers of this room share; open_foreign.h is what others include.

namespace quantref {

// A flag of matrices: of all, or true of those that are named.
struct MatrixFlag {
  std::optional<bool> all{};
  std::optional<std::set<std::string>> names{};

  bool Of(const std::string& matrix, bool otherwise) const {
    return names ? names->contains(matrix) : all.value_or(otherwise);
  }
};

// A folder that another tool wrote, as the tool's reader gets it.
struct ForeignFolder {
  std::function<const Tensor*(std::string_view)> find;  // nullptr: there is none of the name
  std::vector<std::string> names;                       // of all tensors
  std::string where;                                    // the folder
  nlohmann::json settings;                              // its quantization_config
  std::string settings_where;                           // "DIR/config.json, quantization_config"
  // What WeightScheme calls the ranges that the matrices were rounded in, where the folder was
  // exported here and says so: no other file does, and no value depends on it.
  MatrixFlag full_range{}, zero_in_range{};
  std::vector<CountedNote> notes{};  // what was noticed as its settings were sought

  JsonFields fields() const { return {settings, settings_where}; }
};

// One tool's reader.
struct ForeignTool {
  std::string_view quant_method;  // as quantization_config says it
  std::shared_ptr<const ForeignCheckpoint> (*open)(ForeignFolder folder);
};

// "not supported: WHAT", at the folder's settings.
[[noreturn]] void RefuseSetting(const ForeignFolder& folder, const std::string& what,
                                const std::string& hint = "");

// Refuses the key where it says something, which an empty map or list does not: "WHAT (KEY VALUE)".
void RefuseIfSet(const ForeignFolder& folder, const char* key, const std::string& what,
                 const std::string& hint = "");

// A cache of keys and values that is rounded by scales in the folder, as several tools ask for it.
void RefuseRoundedCache(const ForeignFolder& folder);

// Throws Error, by its name, for a setting that is not among the known ones and says something.
void RefuseUnknownKeys(const nlohmann::json& object, const std::string& where,
                       std::initializer_list<std::string_view> known);

// The same as notes, where tools add settings of how they worked that change no number.
void NoteUnknownKeys(const nlohmann::json& object, std::span<const std::string_view> known,
                     std::vector<CountedNote>& notes);

// Adds a note where the count is not 0.
void AddNote(std::vector<CountedNote>& notes, const std::string& what, size_t count,
             const std::string& of, NoteGrade grade = NoteGrade::kTold);

// Adds notes of scales that are 0 or below, of a matrix that is decoded by rows: of others whoever
// has their Weight can count them.
void CountOddScales(std::span<const float> scales, std::vector<CountedNote>& notes);

// Adds the note of a matrix that no packed form here holds and that is decoded by rows.
void NoteDecoded(std::vector<CountedNote>& notes);

// Whether no bit of it is set.
bool HoldsZeros(const Tensor& tensor);

// The biases "M.bias" that hold nothing but zeros, of modules M that have the tensor "M.PART": some
// tools write them for linears that have none.
std::vector<std::string> ZeroBiases(const ForeignFolder& folder, std::string_view part,
                                    std::vector<CountedNote>& notes);

// Whether Python's re.match(expression, name) finds something.
bool MatchesStart(const std::string& expression, const std::string& name, const std::string& where);

// The rows of this room, one a tool.
std::shared_ptr<const ForeignCheckpoint> OpenGptq(ForeignFolder folder);
std::shared_ptr<const ForeignCheckpoint> OpenAwq(ForeignFolder folder);
std::shared_ptr<const ForeignCheckpoint> OpenCompressedTensors(ForeignFolder folder);
std::shared_ptr<const ForeignCheckpoint> OpenBitsAndBytes(ForeignFolder folder);
std::shared_ptr<const ForeignCheckpoint> OpenFp8(ForeignFolder folder);

}  // namespace quantref
