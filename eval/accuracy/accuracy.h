#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "eval/accuracy/position.h"
#include "eval/accuracy/subject.h"
#include "eval/text/protocol.h"

namespace quantref {

class Workers;  // eval/team/workers.h

struct EvaluateOptions {
  size_t threads = 1;
  bool compare = true;       // false: NLL only
  bool kept_logits = false;  // KeptDivergences too
  size_t hash_window = 0;    // the window whose logits are hashed, where it is among the chosen
  // Called from the worker threads, one at a time; may throw to stop. done counts passes of one
  // model over one window.
  std::function<void(size_t done, size_t total)> progress;
  // Called after each window with all models' scores, one at a time, in the order of completion.
  std::function<void(size_t window, std::span<const WindowScores> scores)> on_window;
};

// What one window at a time takes of Evaluate's memory beside the models' readers: a tile of
// positions' logits, FP32, of the reference and, where there are others, of one of them, and the
// reference's probabilities in double where several are compared with it. models: with the
// reference.
size_t LogitBytes(size_t vocab, size_t models, bool compare);

// Takes all models through each of the chosen windows together and puts their scores into the
// table: one pass of the reference for all, and the logits of a tile of positions of two models at
// a time, so the memory beyond the models' own is O(tile * vocabulary). Windows run in parallel,
// one a thread; of the last ones, where they are fewer than the threads, each has a team of these.
// The scores are the same bits for any number of threads and models. Adds the seconds spent in each
// model, of all threads, to `seconds`. Throws Error where a model's logits are not finite.
void Evaluate(std::span<const Subject* const> models, const Protocol& protocol,
              const TokenStream& stream, std::span<const Window> windows,
              std::span<const size_t> chosen, const EvaluateOptions& options, ScoreTable& table,
              std::vector<double>& seconds);

// The same by the processes of a run together, with the same bits for any number of them. Those
// beside the first measure what it hands out, until it dismisses them, and give it the scores:
// `chosen`, `table`, `seconds` and the callback on_window are its own.
void EvaluateShared(std::span<const Subject* const> models, const Protocol& protocol,
                    const TokenStream& stream, std::span<const Window> windows,
                    std::span<const size_t> chosen, const EvaluateOptions& options,
                    Workers& workers, ScoreTable& table, std::vector<double>& seconds);

}  // namespace quantref
