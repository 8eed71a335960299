#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/accuracy/accuracy.h"
#include "eval/accuracy/journal.h"
#include "eval/accuracy/subject.h"
#include "eval/text/protocol.h"

namespace quantref {

// When to stop before the text's end: windows are taken in a seeded random order, and once the 95 %
// interval of every cell's mean NLL difference is narrower than asked, the rest is left out.
struct StopRule {
  double delta_nll_halfwidth = 0;  // nats per token, > 0
  size_t min_windows = 32;
  size_t seed = 0;
  bool operator==(const StopRule&) const = default;
};
// Between two looks at the intervals. Fixed, so that where a run stops does not depend on the
// number of threads.
inline constexpr size_t kWindowsPerLook = 8;

// Random: what was measured so far, all of it in an interrupted run, stands for the whole text. The
// scores of a window do not depend on the order.
enum class OrderRule { kRandom, kText };

// The order in which so many windows are measured; a stop rule has a random one of its own seed.
std::vector<size_t> WindowOrder(size_t windows, OrderRule order,
                                const std::optional<StopRule>& stop);

// One of `count` parts of a run's windows, index < count: those at every count-th place of their
// order from `index` on. The default is all of them.
struct Shard {
  size_t index = 0, count = 1;
  bool operator==(const Shard&) const = default;
};
std::vector<size_t> PartOf(std::span<const size_t> order, const Shard& shard);

// Names of journals: start, so many characters of the fingerprint, end.
inline constexpr size_t kJournalName = 16;
inline constexpr std::string_view kJournalStart = ".journal-", kJournalEnd = ".tmp";
std::string JournalFile(const std::string& fingerprint);

// People are shown what there is after so many windows, and each time that they have doubled.
inline constexpr size_t kFirstLook = 8;

struct MeasureOptions {
  size_t threads = 1;
  bool compare = true;
  bool kept_logits = false;
  OrderRule order = OrderRule::kRandom;
  std::optional<StopRule> stop;
  std::filesystem::path journal;  // windows are kept there as they are done
  std::string fingerprint;        // of everything that the scores depend on
  bool resume = false;            // go on with the journal where there is one
  Shard shard;  // of the windows, which alone are measured; less than all ends no stop rule early
  std::vector<JournalEntry> measured;  // elsewhere, and taken as if they stood in the journal
  // Called where the journal was removed while the run was at work.
  std::function<void(bool made_again)> on_journal_gone;
  std::function<void(size_t done, size_t total)>
      progress;                          // counts windows * models; may throw to stop
  std::function<void()> before_keeping;  // a window; throws where its scores are worth nothing
  // Called with what there is of the table after `measured` windows (kFirstLook), never after all.
  // `every_window`: from the first look on after each.
  bool every_window = false;
  std::function<void(const ScoreTable& scores, size_t measured)> on_look;
};

struct Measurement {
  ScoreTable scores;            // [model][window of the text]
  std::vector<double> seconds;  // [model], summed over the threads, of this process
  size_t resumed_windows = 0;   // taken from the journal
  size_t other_windows = 0;     // that the journal has beside those that were asked for
  size_t first_window = 0;      // of the text, or of a stop rule's order: its logits are hashed
  bool stopped_early = false;
  bool interrupted = false;          // by a signal, before all was measured
  std::string journal_name;          // the same for runs that can go on with each other; or ""
  std::shared_ptr<Journal> journal;  // to be removed once the results are recorded; ours till then
};

// Evaluates the models (the first is the reference) on the windows, all or until the stop rule is
// satisfied. Whatever was journaled before comes from the journal; the scores are the same bits as
// in one go. Where a signal interrupts it while windows are measured, the result has those that all
// models were taken through.
Measurement Measure(std::span<const Subject* const> models, const Protocol& protocol,
                    const TokenStream& stream, std::span<const Window> windows,
                    const MeasureOptions& options);

// The same by the processes of a run together, with the same bits for any number of them: what the
// first calls.
Measurement MeasureShared(std::span<const Subject* const> models, const Protocol& protocol,
                          const TokenStream& stream, std::span<const Window> windows,
                          const MeasureOptions& options, Workers& workers);

// What the others call, with the same arguments: measures what the first hands out, and gives it
// the scores, until it has all that it needs.
void MeasureForFirst(std::span<const Subject* const> models, const Protocol& protocol,
                     const TokenStream& stream, std::span<const Window> windows,
                     const MeasureOptions& options, Workers& workers);

}  // namespace quantref
