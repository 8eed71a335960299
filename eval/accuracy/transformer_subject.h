#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "eval/accuracy/subject.h"
#include "harness/model/transformer.h"

namespace quantref {

// Our own models, as what is measured.

// Where Subject::Reader::OutlierChannels of one has a block's tap.
inline size_t OutlierPlace(size_t layer, Tap tap) {
  return layer * kTaps + static_cast<size_t>(tap);
}

// The model must outlive it and its readers.
class TransformerSubject : public Subject {
 public:
  TransformerSubject(const Transformer& model, std::string name)
      : model_(model), name_(std::move(name)) {}
  const std::string& name() const override { return name_; }
  size_t vocabulary() const override { return model_.config().vocab; }
  size_t context() const override { return model_.config().context; }
  std::unique_ptr<Reader> MakeReader(std::shared_ptr<Memory>& memory, Team* team) const override;
  std::unique_ptr<Decoder> MakeDecoder(size_t tokens, Team* team) const override;

 private:
  const Transformer& model_;
  std::string name_;
};

}  // namespace quantref
