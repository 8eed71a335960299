#pragma once

#include <string>
#include <vector>

#include "eval/facts/scheme_json.h"
#include "harness/model/foreign_checkpoint.h"

// What records and tables say of how a checkpoint's files hold its matrices.

namespace quantref {

struct StoredType {
  std::string name;  // MatrixFacts::type
  bool coded = false;
  size_t matrices = 0;
  double weights = 0, bits = 0;
};

// That with the most weights first; codes before what is plain.
std::vector<StoredType> StoredTypes(const MatrixSources& stored);

// A weight's, of each block's matrices.
std::vector<double> StoredLayerBits(const MatrixSources& stored);

// "int4 g128 sym, F16; 5.84 bits a weight"
std::string StoredSummary(const MatrixSources& stored);

// A candidate's `scheme`: that of its blocks' codes, as a method's is. An embedding or a head of
// other types, which most GGUF files have, and matrices that are kept change the effective bits and
// not this; the name has all types. Where blocks have no codes, of what there is; where nothing
// has, of the blocks.
RecordJson StoredSchemeJson(const MatrixSources& stored);
RecordJson StoredTypesJson(const std::vector<StoredType>& types);
RecordJson StoredNotesJson(const MatrixSources& stored);

// Of a model whose matrices another tool's codes stand for (HoldsCodes).
RecordJson ForeignModelJson(const MatrixSources& stored);

}  // namespace quantref
