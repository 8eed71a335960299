#include "eval/ledger/block_ledger.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "eval/accuracy/accuracy.h"
#include "eval/candidate/candidate.h"
#include "eval/pass/score_facts.h"
#include "eval/pass/shard_work.h"
#include "eval/support/progress_bar.h"
#include "harness/base/cancel.h"
#include "harness/base/sha256.h"
#include "harness/model/layout.h"

namespace quantref {
namespace {

// The reference, the cell, and of each item it alone and all but it. They point into each other.
struct SplicedCell {
  SpliceShape shape;
  std::deque<SplicedSubject> subjects;

  SplicedCell(const GroupContext& group, const GroupCell& cell,
              const std::vector<LedgerItem>& items, size_t most_tokens)
      : shape(group.model->config, cell.quantized.weights.kv_cache, most_tokens) {
    const ModelWeights &reference = group.model->weights, &quantized = cell.quantized.weights;
    const SplicedSubject& none =
        subjects.emplace_back(shape, Named("the reference", Whole(reference)));
    const SplicedSubject& all = subjects.emplace_back(shape, Named(cell.label, Whole(quantized)));
    for (const LedgerItem& item : items) {
      Add(item, Named(item.name + " alone", Spliced(reference, quantized, item)), none);
      Add(item, Named("all but " + item.name, Spliced(quantized, reference, item)), all);
    }
  }

  std::vector<const Subject*> Pointers() const {
    std::vector<const Subject*> pointers;
    for (const SplicedSubject& subject : subjects) pointers.push_back(&subject);
    return pointers;
  }

 private:
  static SplicedModel Named(std::string name, SplicedModel model) {
    model.name = std::move(name);
    return model;
  }

  void Add(const LedgerItem& item, SplicedModel model, const SplicedSubject& trunk) {
    if (item.embedding) {
      subjects.emplace_back(shape, std::move(model));
    } else {
      subjects.emplace_back(shape, std::move(model), &trunk,
                            item.BlocksBefore(shape.config.layers.size()));
    }
  }
};

MeasureOptions OptionsFor(const GroupContext& group, const GroupCell& cell,
                          const BlockLedger& ledger) {
  MeasureOptions measure;
  measure.threads = group.threads;
  measure.compare = cell.config->accuracy.metrics.Compare();
  measure.fingerprint = Sha256Hex(TextOf(LedgerFacts(group, cell, ledger)));
  measure.journal = group.options.out / JournalFile(measure.fingerprint);
  measure.resume = group.options.resume;
  return measure;
}

// Of this process: a shard leaves them to who merges.
bool AsksForBlocks(const GroupContext& group) {
  const LedgerOptions& asked = group.options.ledger;
  return asked.asked && asked.windows > 0 && !group.shards.part;
}

// At most.
size_t KindsOf(const ModelConfig& config, const GroupCell& cell) {
  return LayoutOf(config, 0).linears.size() + (cell.spec->kv_cache ? 1 : 0);
}

bool MayChangeEmbedding(const GroupCell& cell) {
  return cell.candidate != nullptr || cell.training != nullptr ||
         std::any_of(cell.plan.begin(), cell.plan.end(), [](const PlannedLinear& linear) {
           return linear.scheme && linear.shape.name == kEmbeddingName;
         });
}

// Hidden states of a window that a cell's spliced models hold, at most: each model's own, and the
// inputs of all blocks of those that others go on from, or that begin with another embedding.
size_t SplicedStates(const ModelConfig& config, const GroupCell& cell) {
  constexpr size_t kEnds = 2;
  const size_t blocks = config.layers.size();
  const size_t models = 2 + 2 * (blocks + KindsOf(config, cell) + kEnds);
  return models + (MayChangeEmbedding(cell) ? 4 : 2) * (blocks + 1);
}

// What logits take of each thread beyond what they take of the cells alone. Blocks have the
// reference, the cell and two models of each item.
double MoreLogitBytes(const GroupContext& group, const Pass& cells) {
  size_t models = 1, runs = 0;
  for (const GroupCell& cell : cells) {
    if (cell.spec == nullptr) continue;
    ++models;
    runs += StepsBefore(group, cell);
  }
  if (models == 1) return 0;
  const size_t measured = std::max<size_t>(models + runs, AsksForBlocks(group) ? 4 : 0);
  const size_t vocab = group.model->config.vocab;
  const bool compare = group.config().accuracy.metrics.Compare();
  return static_cast<double>(LogitBytes(vocab, measured, compare) -
                             LogitBytes(vocab, models, compare));
}

void DescribeText(const LedgerText& text, BlockLedger& ledger) {
  ledger.dataset = text.text->dataset;
  ledger.split = text.text->split;
  ledger.sha256 = text.text->sha256;
  ledger.substituted_sample = text.text->substituted_sample;
  ledger.is_test_text = text.is_test;
  ledger.token_sha256 = text.stream->sha256;
  ledger.places = text.places;
  ledger.windows = text.windows;
}

std::shared_ptr<const BlockLedger> MeasureCell(const GroupContext& group, const GroupCell& cell,
                                               const LedgerTexts& texts) {
  const auto ledger = std::make_shared<BlockLedger>();
  ledger->left_out = WhyNoBlocks(cell);
  if (!ledger->left_out.empty()) return ledger;
  const LedgerText text = texts.For(*cell.config);
  DescribeText(text, *ledger);
  const bool folds = !cell.method.transforms.empty();
  ledger->items =
      LedgerItems(group.model->config, group.model->weights, cell.quantized.weights, folds);
  size_t longest = 0;
  for (const Window& window : ledger->windows) longest = std::max(longest, window.length);
  const SplicedCell models(group, cell, ledger->items, longest);
  MeasureOptions measure = OptionsFor(group, cell, *ledger);
  measure.before_keeping = [&] {
    group.CheckInputs();
    texts.CheckUnchanged();
  };
  ProgressBar bar(fmt::format("{} {}, block by block", cell.config->name, cell.label),
                  group.options.quiet, group.eta, RunEta::Kind::kMeasure);
  measure.progress = [&](size_t done, size_t total) {
    ThrowIfCancelled();
    bar.Update(done, total);
  };
  ledger->measurement =
      Measure(models.Pointers(), group.protocol, *text.stream, ledger->windows, measure);
  return ledger;
}

}  // namespace

Facts LedgerFacts(const GroupContext& group, const GroupCell& cell, const BlockLedger& ledger) {
  Facts facts = OriginFacts(group);
  facts.insert(ConfigFact(*cell.config));
  facts.merge(CellFacts(group, cell));
  facts["the ledger's tokens"] = ledger.token_sha256;
  facts["the ledger's windows"] = fmt::format("{}", fmt::join(ledger.places, " "));
  std::string& items = facts["the ledger's items"];
  for (const LedgerItem& item : ledger.items) items += item.name + "\n";
  return facts;
}

BlockLedgers MeasureBlocks(const GroupContext& group, const LedgerTexts& texts, const Pass& cells) {
  BlockLedgers ledgers;
  if (!AsksForBlocks(group)) return ledgers;
  for (const GroupCell& cell : cells) {
    if (cell.spec == nullptr || !cell.Recorded()) continue;
    ThrowIfCancelled();
    ledgers[cell.model] = MeasureCell(group, cell, texts);
    if (WasInterrupted(ledgers)) break;
  }
  return ledgers;
}

bool WasInterrupted(const BlockLedgers& ledgers) {
  return std::any_of(ledgers.begin(), ledgers.end(),
                     [](const auto& entry) { return entry.second->measurement.interrupted; });
}

void RemoveJournals(const BlockLedgers& ledgers) {
  for (const auto& [model, ledger] : ledgers)
    if (ledger->measurement.journal != nullptr) ledger->measurement.journal->Remove();
}

size_t StepsBefore(const GroupContext& group, const GroupCell& cell) {
  if (!group.options.ledger.asked) return 0;
  const bool weights =
      QuantizesAny(cell.plan) || cell.candidate != nullptr || cell.training != nullptr;
  const size_t steps = (weights ? 1 : 0) + (cell.spec->activations ? 1 : 0) +
                       (cell.spec->kv_cache ? 1 : 0) + (cell.config->path.kernels ? 1 : 0);
  return std::max<size_t>(steps, 1) - 1;
}

double SecondsOfSteps(const GroupContext& group, const Pass& cells, const Cost& cost) {
  double seconds = 0;
  auto own = cost.cells.begin();
  for (const GroupCell& cell : cells) {
    if (cell.spec == nullptr) continue;
    ++own;
    seconds += own->measure * static_cast<double>(StepsBefore(group, cell));
  }
  return seconds;
}

// As if every matrix were a kind, and all models as fast as the reference; by this process alone.
// Nothing is compared with kept logits here.
std::vector<double> SecondsOfBlocks(const GroupContext& group, const Pass& cells,
                                    const Cost& cost) {
  std::vector<double> seconds;
  const size_t windows = group.options.ledger.windows;
  if (!AsksForBlocks(group)) return seconds;
  const ModelConfig& config = group.model->config;
  const size_t longest = group.LongestWindow();
  const double body = config.ForwardFlops(longest, 0) / config.ForwardFlops(longest, longest);
  const Cost::Cell& reference = cost.cells[0];
  const double of_window =
      (reference.measure - reference.kept_logits) / static_cast<double>(OwnWindows(group).size());
  const auto blocks = static_cast<double>(config.layers.size());
  for (const GroupCell& cell : cells) {
    if (cell.spec == nullptr || !cell.method.model_transforms.empty()) continue;
    const auto kinds = static_cast<double>(KindsOf(config, cell));
    const double forwards = 2 + 2 * kinds + blocks, heads = 2 + 2 * kinds + 2 * blocks;
    seconds.push_back(of_window * static_cast<double>(windows) *
                      (body * forwards + (1 - body) * heads));
  }
  return seconds;
}

double BytesOfLedgers(const GroupContext& group, const Pass& cells) {
  if (!group.options.ledger.asked) return 0;
  const ModelConfig& config = group.model->config;
  const size_t of_ledger = AsksForBlocks(group) ? group.options.ledger.windows : 0;
  size_t states = 0;
  for (const GroupCell& cell : cells) {
    if (cell.spec != nullptr) states = std::max(states, SplicedStates(config, cell));
  }
  const auto at_work = [&](size_t windows) {
    return static_cast<double>(std::min(group.threads, windows));
  };
  return at_work(of_ledger) *
             static_cast<double>(states * group.LongestWindow() * config.hidden * sizeof(float)) +
         at_work(std::max(group.windows.size(), of_ledger)) * MoreLogitBytes(group, cells);
}

}  // namespace quantref
