#pragma once

#include <string>
#include <string_view>

#include "harness/io/checkpoint.h"
#include "harness/model/family.h"

namespace quantref {

// What the parts of a model are called in a checkpoint of transformers': all but the head stands
// below one of the family's prefixes.
class TensorNames {
 public:
  // The prefix under which the checkpoint has the embedding; the family's first where it has none.
  TensorNames(const Family& family, const Checkpoint& checkpoint);

  // Of a matrix or norm by its name in the model, without ".weight": "layers.3.mlp.down_proj" is
  // "model.layers.3.mlp.down_proj".
  std::string Of(std::string_view name) const;

 private:
  std::string prefix_;
};

}  // namespace quantref
