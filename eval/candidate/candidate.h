#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/inputs/group_context.h"
#include "harness/method/quantize_model.h"
#include "harness/model/foreign_checkpoint.h"
#include "harness/model/load_model.h"

namespace quantref {

struct GroupCell;

// A quantized checkpoint that another tool made, judged as a cell: with its own config, norms,
// embedding and head, on the windows of the reference's tokens.
struct Candidate {
  Model model;
  // How its matrices are stored, and all that was noticed: by its reader, and in comparison with
  // the reference.
  MatrixSources stored;
  // Once it is loaded:
  size_t changed_norms = 0;  // vectors that are others than the reference's, beyond rounding
  // Mean squared differences of its matrices' weights to the reference's, in the order of
  // stored.found. Nothing where they do not compare: methods folded scales into norms, or turned
  // the matrix.
  std::vector<std::optional<double>> weight_errors{};

  // Whether its codes exist in memory as decoded numbers alone, whose speed is not the format's.
  bool IsDecoded() const;
  std::vector<const MatrixFacts*> Plain() const;  // matrices that are no codes
};

// Opens what the cell names, without reading weights. Errors name the candidate.
Candidate MapCandidate(const CellConfig& spec);

// The same, compared with the group's reference. Throws Error where shapes, or the ids of any token
// of the text, are others.
std::shared_ptr<const Candidate> OpenCandidate(const GroupContext& group, const CellConfig& spec);

// Reads the cell's weights, for the kernels where its config asks for these, and compares them with
// the reference's. From then on the group watches its files.
void LoadCandidate(GroupContext& group, GroupCell& cell);

// Whether both cells are one candidate in one form, which a pass loads once.
bool LoadAlike(const GroupCell& a, const GroupCell& b);

// Whether its speed is that of anything that it stands for: not of decoded codes.
bool IsTimed(const GroupCell& cell);

// What loading takes at most.
double CandidateBytes(const Candidate& candidate);

// Bits per weight of what is stored, as MeasureBits counts a quantized model's.
EffectiveBits StoredBits(const Candidate& candidate);

}  // namespace quantref
