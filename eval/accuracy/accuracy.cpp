#include "eval/accuracy/accuracy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>

#include "eval/accuracy/journal.h"
#include "eval/accuracy/kept_logits.h"
#include "eval/team/workers.h"
#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/base/team.h"
#include "harness/io/binary.h"

namespace quantref {
namespace {

// Positions whose logits exist at a time: W of the last layer is read and decoded once for all of
// them. 16 MB of logits, unless that would be too few or too many.
size_t LogitTile(size_t vocab) {
  constexpr size_t kLogits = size_t{1} << 22, kStep = 32;
  return std::clamp<size_t>(kLogits / vocab / kStep * kStep, 128, 512);
}

// A tile of scored positions: the tokens [first, first + count) of the window are predicted.
struct Tile {
  size_t first, count;
};

std::vector<Tile> TilesOf(const Window& window, size_t most) {
  std::vector<Tile> tiles;
  for (size_t first = window.first_scored; first < window.length; first += most) {
    tiles.push_back({first, std::min(most, window.length - first)});
  }
  return tiles;
}

// What takes one window at a time through the models: a thread or a team, with its readers, as the
// models, and its buffers.
struct Scratch {
  std::unique_ptr<Team> team;  // null: the calling thread
  std::shared_ptr<Subject::Memory> memory;
  std::vector<std::unique_ptr<Subject::Reader>> readers;
  Matrix<float> reference_logits, logits;
  Matrix<double> probabilities;  // of the reference, where several models are compared with it

  void Prepare(std::span<const Subject* const> models, bool compare) {
    if (!readers.empty()) return;
    for (const Subject* model : models) readers.push_back(model->MakeReader(memory, team.get()));
    const size_t vocab = models[0]->vocabulary();
    reference_logits = Matrix<float>(LogitTile(vocab), vocab);
    if (models.size() > 1) logits = Matrix<float>(LogitTile(vocab), vocab);
    if (models.size() > 2 && compare) probabilities = Matrix<double>(LogitTile(vocab), vocab);
    QR_CHECK_EQ(Bytes(), LogitBytes(vocab, models.size(), compare));
  }

  size_t Bytes() const {
    const auto numbers = [](const auto& matrix) { return matrix.rows() * matrix.cols(); };
    return sizeof(float) * (numbers(reference_logits) + numbers(logits)) +
           sizeof(double) * numbers(probabilities);
  }
};

MatrixView<float> TileLogits(Subject::Reader& reader, const Tile& tile, Matrix<float>& storage) {
  const MatrixView<float> logits = storage.view().Rows(0, tile.count);
  reader.Logits(tile.first - 1, logits);
  return logits;
}

// Scores one window with all models.
class WindowPass {
 public:
  WindowPass(std::span<const Subject* const> models, std::vector<uint32_t> ids,
             const Window& window, const EvaluateOptions& options, bool hash, Scratch& scratch)
      : models_(models),
        ids_(std::move(ids)),
        window_(window),
        compare_(options.compare),
        kept_logits_(options.kept_logits),
        scratch_(scratch),
        hashes_(hash ? models.size() : 0),
        scores_(models.size()),
        seconds_(models.size()) {
    scratch_.Prepare(models, compare_);
    if (!kept_logits_) return;
    for (WindowScores& scores : scores_) scores.kept_kl.assign(kKeptLogitsForms.size(), 0);
  }

  // after_model() is called once a model's forward pass is done.
  void Run(const std::function<void()>& after_model) {
    for (size_t m = 0; m < models_.size(); ++m) {
      const Clock::time_point start = Clock::now();
      scratch_.readers[m]->Read(ids_);
      scores_[m].outliers = scratch_.readers[m]->OutlierChannels();
      Spend(m, start);
      after_model();
    }
    const size_t most = LogitTile(models_[0]->vocabulary());
    for (const Tile& tile : TilesOf(window_, most)) ScoreTile(tile);
    for (size_t m = 0; m < hashes_.size(); ++m) scores_[m].logits_sha256 = hashes_[m].HexDigest();
  }

  const std::vector<WindowScores>& scores() const { return scores_; }
  const std::vector<double>& seconds() const { return seconds_; }

 private:
  void ScoreTile(const Tile& tile) {
    Clock::time_point start = Clock::now();
    const MatrixView<const float> of_reference =
        TileLogits(*scratch_.readers[0], tile, scratch_.reference_logits);
    Hash(0, of_reference);
    std::vector<ReferencePosition> reference(tile.count);
    RunOn(scratch_.team.get(), tile.count, [&](size_t i, size_t) {
      const Matrix<double>& kept = scratch_.probabilities;
      const std::span<double> room(kept.data() + i * kept.cols(), kept.cols());
      reference[i] = {of_reference.row_span(i), ids_[tile.first + i], room};
    });
    for (const ReferencePosition& position : reference)
      scores_[0].Add({.nll = position.nll}, position.nll);
    const std::vector<KeptPosition> kept = Keep(reference);
    AddKept(0, kept, of_reference);
    Spend(0, start);
    std::vector<PositionScore> scores(tile.count);
    for (size_t m = 1; m < models_.size(); ++m) {
      start = Clock::now();
      const MatrixView<const float> logits =
          TileLogits(*scratch_.readers[m], tile, scratch_.logits);
      Hash(m, logits);
      RunOn(scratch_.team.get(), tile.count, [&](size_t i, size_t) {
        scores[i] = compare_ ? ScorePosition(reference[i], logits.row_span(i))
                             : PositionScore{.nll = NegativeLogLikelihood(logits.row_span(i),
                                                                          reference[i].target)};
      });
      for (size_t i = 0; i < tile.count; ++i) {  // in their order, whoever made them
        scores_[m].Add(scores[i], reference[i].nll);
        if (compare_) scores_[m].kl_values.push_back(scores[i].kl);
      }
      AddKept(m, kept, logits);
      Spend(m, start);
    }
  }

  // None where they were not asked for.
  std::vector<KeptPosition> Keep(std::span<const ReferencePosition> reference) {
    std::vector<KeptPosition> kept(kept_logits_ ? reference.size() : 0);
    RunOn(scratch_.team.get(), kept.size(),
          [&](size_t i, size_t) { kept[i] = KeptPosition(reference[i]); });
    return kept;
  }

  void AddKept(size_t model, std::span<const KeptPosition> kept, MatrixView<const float> logits) {
    std::vector<KeptDivergences> divergences(kept.size());
    RunOn(scratch_.team.get(), kept.size(),
          [&](size_t i, size_t) { divergences[i] = kept[i].From(logits.row_span(i)); });
    for (const KeptDivergences& position : divergences) {
      for (size_t f = 0; f < position.size(); ++f) scores_[model].kept_kl[f] += position[f];
    }
  }

  // Of all of the team's threads.
  void Spend(size_t model, Clock::time_point start) {
    seconds_[model] += static_cast<double>(TeamThreads(scratch_.team.get())) * Since(start);
  }

  void Hash(size_t model, MatrixView<const float> logits) {
    if (!hashes_.empty())
      hashes_[model].Update(logits.data(), logits.rows() * logits.cols() * sizeof(float));
  }

  std::span<const Subject* const> models_;
  const std::vector<uint32_t> ids_;
  const Window& window_;
  const bool compare_, kept_logits_;
  Scratch& scratch_;
  std::vector<Sha256Stream> hashes_;  // empty: not asked for
  std::vector<WindowScores> scores_;
  std::vector<double> seconds_;
};

void CheckFinite(std::span<const Subject* const> models, std::span<const WindowScores> scores,
                 size_t window) {
  for (size_t m = 0; m < scores.size(); ++m) {
    if (std::isfinite(scores[m].nll) && std::isfinite(scores[m].kl)) continue;
    throw Error(
        fmt::format("the logits of {} are not finite in window {}", models[m]->name(), window),
        "evaluation",
        m == 0 ? "the model overflows in FP32: its checkpoint is likely damaged"
               : "the quantized model overflows: its weights are useless in this scheme");
  }
}

// So many threads in all, where there is one window for each team.
std::vector<Scratch> Teams(size_t windows, size_t threads) {
  std::vector<Scratch> teams(windows);
  for (size_t i = 0; i < windows; ++i) {
    const size_t size = threads / windows + (i < threads % windows ? 1 : 0);
    if (size > 1) teams[i].team = std::make_unique<Team>(size);
  }
  return teams;
}

}  // namespace

size_t LogitBytes(size_t vocab, size_t models, bool compare) {
  const size_t floats = models > 1 ? 2 : 1, doubles = models > 2 && compare ? 1 : 0;
  return LogitTile(vocab) * vocab * (floats * sizeof(float) + doubles * sizeof(double));
}

void Evaluate(std::span<const Subject* const> models, const Protocol& protocol,
              const TokenStream& stream, std::span<const Window> windows,
              std::span<const size_t> chosen, const EvaluateOptions& options, ScoreTable& table,
              std::vector<double>& seconds) {
  OneProcess alone;
  EvaluateShared(models, protocol, stream, windows, chosen, options, alone, table, seconds);
}

void EvaluateShared(std::span<const Subject* const> models, const Protocol& protocol,
                    const TokenStream& stream, std::span<const Window> windows,
                    std::span<const size_t> chosen, const EvaluateOptions& options,
                    Workers& workers, ScoreTable& table, std::vector<double>& seconds) {
  QR_CHECK_EQ(table.size(), models.size());
  QR_CHECK_EQ(seconds.size(), models.size());
  QR_CHECK(options.threads > 0);
  std::mutex mutex;
  size_t done = 0;
  const auto count = [&](size_t passes) {
    const std::lock_guard lock(mutex);
    done += passes;
    if (options.progress) options.progress(done, chosen.size() * models.size());
  };
  // Of one process the last windows, fewer than its threads, are each taken by a team of these.
  const size_t rest = workers.Alone() ? chosen.size() % options.threads : 0;
  const size_t whole = chosen.size() - rest;
  std::vector<Scratch> scratch(whole > 0 || !workers.Alone() ? options.threads : 0);
  const auto score = [&](size_t w, size_t worker) {
    QR_CHECK_LT(w, windows.size());
    WindowPass pass(models, WindowIds(protocol, stream, windows[w]), windows[w], options,
                    w == options.hash_window, scratch[worker]);
    pass.Run([&] { count(1); });
    CheckFinite(models, pass.scores(), w);
    std::string result;
    PutList(result, pass.seconds());
    return result + EncodeEntry(w, pass.scores());
  };
  const auto keep = [&](size_t w, size_t from, std::string_view result) {
    std::vector<double> spent;
    JournalEntry entry;
    QR_CHECK(TakeList(result, spent) && DecodeEntry(result, models.size(), entry));
    QR_CHECK(spent.size() == models.size() && entry.window == w && w < windows.size());
    {
      const std::lock_guard lock(mutex);
      for (size_t m = 0; m < models.size(); ++m) {
        table[m][w] = entry.scores[m];
        seconds[m] += spent[m];
      }
      if (options.on_window) options.on_window(w, entry.scores);
    }
    if (from != workers.rank()) count(models.size());  // its own were counted one by one
  };
  workers.Deal(chosen.first(whole), options.threads, score, keep);
  if (rest == 0) return;
  scratch = Teams(rest, options.threads);
  workers.Deal(chosen.subspan(whole), rest, score, keep);
}

}  // namespace quantref
