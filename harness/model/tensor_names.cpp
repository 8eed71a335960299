#include "harness/model/tensor_names.h"

#include "harness/model/layout.h"

namespace quantref {

TensorNames::TensorNames(const Family& family, const Checkpoint& checkpoint)
    : prefix_(family.prefixes.front()) {
  for (const std::string_view prefix : family.prefixes) {
    const std::string embedding = std::string(prefix) + kEmbeddingName + ".weight";
    if (checkpoint.Find(embedding) == nullptr) continue;
    prefix_ = prefix;
    break;
  }
}

// Of the head the checkpoint has what precedes the model's prefix.
std::string TensorNames::Of(std::string_view name) const {
  if (name != kHeadName) return prefix_ + std::string(name);
  return (prefix_ == "language_model.model." ? "language_model." : "") + std::string(name);
}

}  // namespace quantref
