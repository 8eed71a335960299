#include "eval/record/schema_rows.h"

namespace quantref {
namespace {

using enum FieldType;
using enum Presence;
using Rows = std::vector<RecordField>;

}  // namespace

Rows CandidateFields() {
  constexpr Stage kStored = Stage::kPackedWeights;
  return {
      {"candidate", kMap, kOptional, "",
       "of a cell that is a checkpoint which another tool made (`candidates`): what it is, and all "
       "that was noticed of it"},
      {"candidate.name", kText, kWritten, "", "of its path the last part", Role::kPlace},
      {"candidate.format", kText, kWritten, "",
       "`gguf` with its architecture, `safetensors` of plain numbers, or the tool's"},
      {"candidate.sha256", kText, kWritten, "", "as `model.sha256`, of its own files", Role::kKnown,
       kStored},
      {"candidate.config_sha256", kText, kWritten, "", "as `model.config_sha256`", Role::kKnown,
       kStored},
      {"candidate.tokenizer_sha256", kText, kWritten, "",
       "as `model.tokenizer_sha256`: another file, of which every token of the text has the "
       "reference's id",
       Role::kKnown},
      {"candidate.disk_bytes", kCount, kWritten, "bytes", "of the files with its weights"},
      {"candidate.plain_matrices", kCount, kWritten, "",
       "that are kept in 16 or 32 bits and not in codes"},
      {"candidate.changed_norms", kCount, kWritten, "",
       "vectors of norms that are others than the reference's, by more than rounding: scales were "
       "folded into them, and weights do not compare (no `weight_mse`)"},
      {"candidate.decoded", kFlag, kOptional, "",
       "its blocks were decoded when it was loaded: nothing is timed, for it would be the speed of "
       "plain numbers"},
      {"candidate.layer_bits", kNumbers, kWritten, "bits", "stored per weight of each block"},
      {"candidate.types", kMaps, kWritten, "", "that its matrices are stored in"},
      {"candidate.types[].name", kText, kRequired, "", "as its tool calls it, or as `scheme.name`"},
      {"candidate.types[].matrices", kCount, kWritten, "", "that have it"},
      {"candidate.types[].weights", kCount, kWritten, "", "of these together"},
      {"candidate.types[].bits", kNumber, kWritten, "bits", "stored per weight of these"},
      {"candidate.matrices", kMaps, kWritten, "", "each, in the model's order"},
      {"candidate.matrices[].name", kText, kRequired, "", "of the matrix"},
      {"candidate.matrices[].type", kText, kWritten, "", "as in `types`"},
      {"candidate.matrices[].bits", kNumber, kWritten, "bits",
       "stored per weight, all that the file has for the matrix"},
      {"candidate.matrices[].weight_mse", kNumber, kOptional, "",
       "against the reference's weights; absent where these do not compare"},
      {"candidate.notes", kMaps, kWritten, "",
       "what its reader noticed, and the comparison with the reference"},
      {"candidate.notes[].what", kText, kRequired, "", "in words"},
      {"candidate.notes[].count", kCount, kRequired, "", "how often"},
      {"candidate.notes[].of", kText, kOptional, "", "what is counted: `groups`, `matrices`"},
      Stamped({"candidate.notes[].doubtful", kFlag, kOptional, "",
               "the numbers may be others than whoever made the file meant: damaged, or read by "
               "settings that are not theirs. Tables stamp the figures X"},
              {'X', "NUMBERS IN DOUBT: candidate.notes of the record says why"}),
  };
}

}  // namespace quantref
