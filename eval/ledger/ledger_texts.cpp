#include "eval/ledger/ledger_texts.h"

#include <algorithm>

#include "eval/accuracy/measure.h"
#include "eval/pass/shard_work.h"
#include "harness/base/check.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

bool IsOf(const RunConfig& config, const std::string& dataset, const std::string& split) {
  return config.calibration.dataset == dataset && config.calibration.split == split;
}

}  // namespace

LedgerTexts::LedgerTexts(const GroupContext& group) : group_(group) {
  const LedgerOptions& asked = group.options.ledger;
  if (!asked.asked || asked.windows == 0 || asked.text == kLedgerTest || group.shards.part) return;
  for (const RunConfig* config : group.configs) {
    try {
      Load(*config);
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      throw Error(error.problem(), "--ledger: calibration.dataset of " + config->name,
                  error.hint().empty() ? "name another text, or --ledger-windows 0" : error.hint());
    }
  }
}

void LedgerTexts::Load(const RunConfig& config) {
  const std::string &dataset = config.calibration.dataset, &split = config.calibration.split;
  for (const Source& source : sources_) {
    if (IsOf(config, source.dataset, source.split)) return;
  }
  Source source{dataset, split, LoadRunText(dataset, split, config, group_.options.quiet)};
  const Model& model = *group_.model;
  source.stream = Tokenize(group_.protocol, source.text.bytes, model.tokenizer,
                           ChooseBos(model, config.accuracy.bos));
  source.windows = MakeWindows(group_.protocol, source.stream.ids.size(), model.config.context);
  sources_.push_back(std::move(source));
}

LedgerText LedgerTexts::For(const RunConfig& config) const {
  if (group_.options.ledger.text == kLedgerTest)
    return Chosen(group_.text, group_.stream, group_.windows, true);
  const auto source = std::find_if(sources_.begin(), sources_.end(), [&](const Source& candidate) {
    return IsOf(config, candidate.dataset, candidate.split);
  });
  QR_CHECK(source != sources_.end());
  return Chosen(source->text, source->stream, source->windows,
                IsTestText(source->text, group_.text));
}

LedgerText LedgerTexts::Chosen(const Text& text, const TokenStream& stream,
                               const std::vector<Window>& all, bool is_test) const {
  LedgerText chosen{&text, &stream, WindowOrder(all.size(), OrderRule::kRandom, {}), {}, is_test};
  chosen.places.resize(std::min(all.size(), group_.options.ledger.windows));
  std::sort(chosen.places.begin(), chosen.places.end());
  for (const size_t place : chosen.places) chosen.windows.push_back(all[place]);
  return chosen;
}

void LedgerTexts::CheckUnchanged() const {
  for (const Source& source : sources_) source.text.file.CheckUnchanged();
}

}  // namespace quantref
