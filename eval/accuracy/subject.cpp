#include "eval/accuracy/subject.h"

#include <utility>

#include "harness/model/kv_cache.h"

namespace quantref {
namespace {

struct ForwardMemory : Subject::Memory {
  Workspace work;
};

class WindowReader : public Subject::Reader {
 public:
  WindowReader(const Transformer& model, std::shared_ptr<ForwardMemory> memory)
      : model_(model), memory_(std::move(memory)) {}
  void Read(std::span<const uint32_t> ids) override { hidden_ = model_.Hidden(ids, memory_->work); }
  void Logits(size_t first, MatrixView<float> logits) override {
    model_.Logits(hidden_.view().Rows(first, logits.rows()), logits, memory_->work);
  }

 private:
  const Transformer& model_;
  const std::shared_ptr<ForwardMemory> memory_;
  Matrix<float> hidden_;
};

class CachedDecoder : public Subject::Decoder {
 public:
  CachedDecoder(const Transformer& model, size_t tokens, Team* team)
      : model_(model.config(), model.weights(), tokens),
        cache_(model.config(), tokens),
        work_(team),
        logits_(1, model.config().vocab) {}
  void Extend(size_t kept, std::span<const uint32_t> ids) override {
    cache_.tokens = kept;
    const MatrixView<const float> hidden = model_.Extend(ids, cache_, work_);
    model_.Logits(hidden.Rows(ids.size() - 1, 1), logits_.view(), work_);
  }

 private:
  const Transformer model_;
  KvCache cache_;
  Workspace work_;
  Matrix<float> logits_;
};

}  // namespace

std::unique_ptr<Subject::Reader> TransformerSubject::MakeReader(
    std::shared_ptr<Memory>& memory) const {
  auto own = std::dynamic_pointer_cast<ForwardMemory>(memory);
  if (own == nullptr) own = std::make_shared<ForwardMemory>();
  if (memory == nullptr) memory = own;
  return std::make_unique<WindowReader>(model_, std::move(own));
}

std::unique_ptr<Subject::Decoder> TransformerSubject::MakeDecoder(size_t tokens, Team* team) const {
  return std::make_unique<CachedDecoder>(model_, tokens, team);
}

}  // namespace quantref
