#include "eval/accuracy/spliced_subject.h"

#include <algorithm>
#include <map>
#include <utility>

#include "harness/base/check.h"
#include "harness/model/block.h"

namespace quantref {
// What a trunk's readers leave of the window that they read last.
struct TrunkStates {
  std::vector<uint32_t> ids;
  std::vector<Matrix<float>> inputs;  // of each block; behind them the last one's output
};

struct SpliceMemory : Subject::Memory {
  explicit SpliceMemory(Team* team) : work(team) {}
  Workspace work;
  std::map<const SplicedSubject*, TrunkStates> trunks;
};

namespace {

void CopyInto(MatrixView<const float> from, Matrix<float>& to) {
  if (to.rows() != from.rows() || to.cols() != from.cols())
    to = Matrix<float>(from.rows(), from.cols());
  for (size_t t = 0; t < from.rows(); ++t)
    std::copy(from.row(t), from.row(t) + from.cols(), to.row(t));
}

}  // namespace

SpliceShape::SpliceShape(const ModelConfig& model, std::optional<KvScheme> rounding,
                         size_t most_tokens)
    : config(model),
      kv_cache(std::move(rounding)),
      max_tokens(most_tokens),
      ropes(config, most_tokens) {}

class SplicedSubject::WindowReader : public Subject::Reader {
 public:
  WindowReader(const SplicedSubject& subject, std::shared_ptr<SpliceMemory> memory)
      : subject_(subject), memory_(std::move(memory)) {}

  void Read(std::span<const uint32_t> ids) override {
    QR_CHECK_LE(ids.size(), subject_.shape_.max_tokens);
    const ModelConfig& config = subject_.shape_.config;
    const ModelWeights& weights = subject_.model_.weights();
    TrunkStates* const kept = subject_.trunk_ == nullptr ? &memory_->trunks[&subject_] : nullptr;
    if (kept != nullptr) {
      kept->ids.assign(ids.begin(), ids.end());
      kept->inputs.resize(config.layers.size() + 1);
      hidden_ = Matrix<float>(ids.size(), config.hidden);
      Embed(config, weights, ids, hidden_.view(), 0, memory_->work.team());
    } else {
      CopyInto(std::as_const(StatesFor(ids).inputs[subject_.shared_]).view(), hidden_);
    }
    RunOwnBlocks(kept);
    FinalNorm(config, weights, hidden_.view(), memory_->work.team());
  }

  void Logits(size_t first, MatrixView<float> logits) override {
    subject_.model_.Logits(hidden_.view().Rows(first, logits.rows()), logits, memory_->work);
  }

 private:
  const TrunkStates& StatesFor(std::span<const uint32_t> ids) const {
    const auto trunk = memory_->trunks.find(subject_.trunk_);
    QR_CHECK(trunk != memory_->trunks.end());
    QR_CHECK(
        std::equal(ids.begin(), ids.end(), trunk->second.ids.begin(), trunk->second.ids.end()));
    return trunk->second;
  }

  void RunOwnBlocks(TrunkStates* kept) {
    const SpliceShape& shape = subject_.shape_;
    const BlockRange range{
        shape.config, std::span(subject_.model_.weights().blocks).subspan(subject_.shared_),
        subject_.shared_, shape.kv_cache ? &*shape.kv_cache : nullptr, &subject_.rounds_cache_};
    RangeObserver keeps;
    if (kept != nullptr) {
      keeps.input = [kept](size_t layer, MatrixView<const float> h) {
        CopyInto(h, kept->inputs[layer]);
      };
    }
    shape.ropes.With(shape.config, hidden_.rows(), 0, [&](const RopeTable& rope) {
      RunBlocks(range, rope, hidden_.view(), memory_->work, keeps);
    });
  }

  const SplicedSubject& subject_;
  const std::shared_ptr<SpliceMemory> memory_;
  Matrix<float> hidden_;
};

SplicedSubject::SplicedSubject(const SpliceShape& shape, SplicedModel model,
                               const SplicedSubject* trunk, size_t shared)
    : shape_(shape),
      name_(std::move(model.name)),
      rounds_cache_(std::move(model.rounds_cache)),
      model_(shape.config, std::move(model.weights), 1),
      trunk_(trunk),
      shared_(shared) {
  const size_t blocks = shape.config.layers.size();
  QR_CHECK_EQ(rounds_cache_.size(), blocks);
  QR_CHECK_LE(shared, blocks);
  QR_CHECK(trunk == nullptr || trunk->trunk_ == nullptr);
  QR_CHECK(shape.kv_cache ||
           std::find(rounds_cache_.begin(), rounds_cache_.end(), true) == rounds_cache_.end());
}

std::unique_ptr<Subject::Reader> SplicedSubject::MakeReader(std::shared_ptr<Memory>& memory,
                                                            Team* team) const {
  auto own = std::dynamic_pointer_cast<SpliceMemory>(memory);
  if (own == nullptr) own = std::make_shared<SpliceMemory>(team);
  QR_CHECK(own->work.team() == team);
  if (memory == nullptr) memory = own;
  return std::make_unique<WindowReader>(*this, std::move(own));
}

}  // namespace quantref
