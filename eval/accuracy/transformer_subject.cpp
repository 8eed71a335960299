#include "eval/accuracy/transformer_subject.h"

#include <optional>
#include <utility>
#include <vector>

#include "harness/base/check.h"
#include "harness/model/kv_cache.h"

namespace quantref {
namespace {

struct ForwardMemory : Subject::Memory {
  explicit ForwardMemory(Team* team) : work(team) {}
  Workspace work;
};

// The thresholds of the linears at each tap, at OutlierPlace; 0: none. Empty: none at all.
std::vector<double> ThresholdsOf(const Transformer& model) {
  std::vector<double> thresholds(model.config().layers.size() * kTaps);
  bool some = false;
  for (size_t layer = 0; layer < model.config().layers.size(); ++layer) {
    for (const LinearRow& row : LayoutOf(model.config(), layer).linears) {
      const auto& format = model.weights().blocks[layer].linears[row.index].activations;
      if (!format || !format->outliers) continue;
      thresholds[OutlierPlace(layer, row.tap)] = format->outliers->threshold;
      some = true;
    }
  }
  return some ? thresholds : std::vector<double>();
}

class WindowReader : public Subject::Reader {
 public:
  WindowReader(const Transformer& model, std::shared_ptr<ForwardMemory> memory)
      : model_(model), memory_(std::move(memory)), thresholds_(ThresholdsOf(model)) {}
  void Read(std::span<const uint32_t> ids) override {
    outliers_.assign(thresholds_.size(), 0);
    ModelObserver count;
    if (!thresholds_.empty()) {
      count = [&](size_t layer, Tap tap, MatrixView<const float> x) {
        const size_t place = OutlierPlace(layer, tap);
        if (thresholds_[place] == 0) return;
        outliers_[place] = static_cast<uint32_t>(finder_.Find(x, thresholds_[place]).size());
      };
    }
    hidden_ = model_.Hidden(ids, memory_->work, count);
  }
  std::vector<uint32_t> OutlierChannels() const override { return outliers_; }
  void Logits(size_t first, MatrixView<float> logits) override {
    model_.Logits(hidden_.view().Rows(first, logits.rows()), logits, memory_->work);
  }

 private:
  const Transformer& model_;
  const std::shared_ptr<ForwardMemory> memory_;
  const std::vector<double> thresholds_;
  OutlierFinder finder_;
  std::vector<uint32_t> outliers_;
  Matrix<float> hidden_;
};

class CachedDecoder : public Subject::Decoder {
 public:
  CachedDecoder(const Transformer& model, size_t tokens, Team* team)
      : model_(model.config(), model.weights(), tokens),
        cache_(model.config(), tokens, model.weights().kv_cache),
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

std::unique_ptr<Subject::Reader> TransformerSubject::MakeReader(std::shared_ptr<Memory>& memory,
                                                                Team* team) const {
  auto own = std::dynamic_pointer_cast<ForwardMemory>(memory);
  if (own == nullptr) own = std::make_shared<ForwardMemory>(team);
  QR_CHECK(own->work.team() == team);
  if (memory == nullptr) memory = own;
  return std::make_unique<WindowReader>(model_, std::move(own));
}

std::unique_ptr<Subject::Decoder> TransformerSubject::MakeDecoder(size_t tokens, Team* team) const {
  return std::make_unique<CachedDecoder>(model_, tokens, team);
}

}  // namespace quantref
