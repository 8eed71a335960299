#include "eval/accuracy/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "eval/accuracy/summary.h"
#include "eval/team/workers.h"
#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

// Never for the reference alone: there is nothing to be sure of.
bool NarrowEnough(const ScoreTable& scores, std::span<const Window> windows, double halfwidth) {
  if (scores.size() < 2) return false;
  const MeasuredWindows reference = Measured(scores[0], windows);
  for (size_t m = 1; m < scores.size(); ++m) {
    const std::optional<Interval> interval =
        PairedDifference(Measured(scores[m], windows), reference);
    if (!interval || interval->HalfWidth() > halfwidth) return false;
  }
  return true;
}

// The windows of this stretch of the order that no journal gave.
std::vector<size_t> Pending(std::span<const size_t> stretch, const ScoreTable& scores) {
  std::vector<size_t> pending;
  std::copy_if(stretch.begin(), stretch.end(), std::back_inserter(pending),
               [&](size_t window) { return !scores[0][window]; });
  return pending;
}

// Those of windows that the table has no room for are counted: a journal may be of more windows
// than the run or of fewer, and then perhaps without the hash of the logits of this run's first.
void PutEntries(std::vector<JournalEntry> entries, size_t first_window, ScoreTable& table,
                size_t& other_windows) {
  std::set<size_t> others;
  for (JournalEntry& entry : entries) {
    if (entry.window >= table[0].size()) {
      others.insert(entry.window);
      continue;
    }
    if (entry.window == first_window && entry.scores[0].logits_sha256.empty()) continue;
    for (size_t m = 0; m < table.size(); ++m) {
      table[m][entry.window] = std::move(entry.scores[m]);
      if (entry.window != first_window) table[m][entry.window]->logits_sha256.clear();
    }
  }
  other_windows += others.size();
}

// With what it has of the windows.
std::shared_ptr<Journal> OpenJournal(const MeasureOptions& options, size_t models,
                                     std::vector<JournalEntry>& entries) {
  return std::make_shared<Journal>(
      options.resume ? Journal::Resume(options.journal, options.fingerprint, models, entries)
                     : Journal::Create(options.journal, options.fingerprint));
}

// Returns how many windows there were.
size_t TakeJournaled(std::span<const size_t> stretch, const ScoreTable& journaled,
                     Measurement& result) {
  size_t taken = 0;
  for (size_t window : stretch) {
    if (!journaled[0][window]) continue;
    for (size_t m = 0; m < journaled.size(); ++m) result.scores[m][window] = journaled[m][window];
    ++taken;
  }
  result.resumed_windows += taken;
  return taken;
}

// Of several processes, whose threads may be busy or not: what as many of the first's threads would
// have spent in each model in the time that it took, by the share of all that was spent.
void ShareTime(double taken, size_t threads, std::vector<double>& seconds) {
  const double all = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  if (all <= 0) return;
  for (double& spent : seconds) spent *= taken * static_cast<double>(threads) / all;
}

EvaluateOptions EvaluationOf(const MeasureOptions& options, size_t first_window) {
  EvaluateOptions evaluate;
  evaluate.threads = options.threads;
  evaluate.compare = options.compare;
  evaluate.kept_logits = options.kept_logits;
  evaluate.hash_window = first_window;
  return evaluate;
}

}  // namespace

std::vector<size_t> WindowOrder(size_t windows, OrderRule order,
                                const std::optional<StopRule>& stop) {
  std::vector<size_t> indices(windows);
  std::iota(indices.begin(), indices.end(), size_t{0});
  if (stop || order == OrderRule::kRandom) {
    Rng rng(stop ? stop->seed : 0);
    Shuffle(std::span(indices), rng);
  }
  return indices;
}

std::string JournalFile(const std::string& fingerprint) {
  return fmt::format("{}{}{}", kJournalStart, fingerprint.substr(0, kJournalName), kJournalEnd);
}

std::vector<size_t> PartOf(std::span<const size_t> order, const Shard& shard) {
  QR_CHECK_LT(shard.index, shard.count);
  std::vector<size_t> part;
  for (size_t place = shard.index; place < order.size(); place += shard.count)
    part.push_back(order[place]);
  return part;
}

Measurement Measure(std::span<const Subject* const> models, const Protocol& protocol,
                    const TokenStream& stream, std::span<const Window> windows,
                    const MeasureOptions& options) {
  OneProcess alone;
  return MeasureShared(models, protocol, stream, windows, options, alone);
}

Measurement MeasureShared(std::span<const Subject* const> models, const Protocol& protocol,
                          const TokenStream& stream, std::span<const Window> windows,
                          const MeasureOptions& options, Workers& workers) {
  Measurement result;
  result.scores.assign(models.size(), std::vector<std::optional<WindowScores>>(windows.size()));
  result.seconds.assign(models.size(), 0);
  const std::vector<size_t> of_all = WindowOrder(windows.size(), options.order, options.stop);
  result.first_window = options.stop ? of_all.front() : 0;
  const std::vector<size_t> order = PartOf(of_all, options.shard);
  // What the others find could be reason to stop, too.
  const bool may_stop = options.stop && order.size() == windows.size();

  ScoreTable journaled = result.scores;
  result.journal_name = options.fingerprint.substr(0, kJournalName);
  std::vector<JournalEntry> entries;
  result.journal = OpenJournal(options, models.size(), entries);
  PutEntries(std::move(entries), result.first_window, journaled, result.other_windows);
  PutEntries(options.measured, result.first_window, journaled, result.other_windows);

  const size_t total = order.size() * models.size();
  size_t before = 0, measured = 0, next_look = kFirstLook;
  EvaluateOptions evaluate = EvaluationOf(options, result.first_window);
  evaluate.progress = [&](size_t done, size_t) {
    if (options.progress) options.progress(before * models.size() + done, total);
  };
  evaluate.on_window = [&](size_t window, std::span<const WindowScores> scores) {
    if (options.before_keeping) options.before_keeping();
    const Journal::State state = result.journal->Append(window, scores);
    if (state != Journal::State::kThere && options.on_journal_gone)
      options.on_journal_gone(state == Journal::State::kMadeAgain);
    if (++measured >= next_look && measured < order.size()) {
      if (!options.every_window) next_look *= 2;
      if (options.on_look) options.on_look(result.scores, measured);
    }
  };

  const Clock::time_point start = Clock::now();
  const size_t first_look =
      may_stop ? std::max(options.stop->min_windows, kMinBlocks) : order.size();
  for (size_t end = std::min(first_look, order.size()); before < order.size();) try {
      const std::span<const size_t> stretch = std::span(order).subspan(before, end - before);
      measured += TakeJournaled(stretch, journaled, result);
      while (!options.every_window && next_look <= measured) next_look *= 2;
      EvaluateShared(models, protocol, stream, windows, Pending(stretch, result.scores), evaluate,
                     workers, result.scores, result.seconds);
      before = end;
      end = std::min(end + kWindowsPerLook, order.size());
      if (may_stop && before < order.size() &&
          NarrowEnough(result.scores, windows, options.stop->delta_nll_halfwidth)) {
        result.stopped_early = true;
        break;
      }
    } catch (const Interrupted&) {
      result.interrupted = true;
      break;
    }
  workers.Dismiss();
  if (!workers.Alone()) ShareTime(Since(start), options.threads, result.seconds);
  return result;
}

void MeasureForFirst(std::span<const Subject* const> models, const Protocol& protocol,
                     const TokenStream& stream, std::span<const Window> windows,
                     const MeasureOptions& options, Workers& workers) {
  const std::vector<size_t> order = WindowOrder(windows.size(), options.order, options.stop);
  EvaluateOptions evaluate = EvaluationOf(options, options.stop ? order.front() : 0);
  evaluate.progress = options.progress;
  ScoreTable none(models.size());
  std::vector<double> seconds(models.size());
  EvaluateShared(models, protocol, stream, windows, {}, evaluate, workers, none, seconds);
}

}  // namespace quantref
