#include "eval/speed/models.h"

#include <algorithm>
#include <string>
#include <vector>

#include "eval/accuracy/subject.h"

namespace quantref {
namespace {

// How many tokens are processed: as asked, or what the context has room for. Decoding begins behind
// the prefill, or as far before its end as the context needs.
struct Lengths {
  Lengths(const ThroughputSpec& spec, size_t context)
      : prefill(std::min(spec.prefill, context)),
        decode(std::min(spec.decode, context)),
        decode_from(std::min(prefill, context - decode)),
        all(std::max(prefill, decode_from + decode)) {}
  size_t prefill, decode, decode_from, all;
};

// One model with its cache. What is decoded is given, not chosen: any token takes the same time.
class Runner {
 public:
  Runner(const Subject& model, const ThroughputSpec& spec, Team* team, Rng& rng)
      : lengths_(spec, model.context()),
        decoder_(model.MakeDecoder(lengths_.all, team)),
        ids_(lengths_.all) {
    for (uint32_t& id : ids_) id = static_cast<uint32_t>(rng.Below(model.vocabulary()));
  }
  const Lengths& lengths() const { return lengths_; }

  void Prefill() { decoder_->Extend(0, std::span(ids_).first(lengths_.prefill)); }
  // Behind what the last prefill left in the cache.
  void Decode(size_t tokens) {
    for (size_t t = 0; t < tokens; ++t) {
      const size_t at = lengths_.decode_from + t;
      decoder_->Extend(at, std::span(ids_).subspan(at, 1));
    }
  }

 private:
  Lengths lengths_;
  std::unique_ptr<Subject::Decoder> decoder_;
  std::vector<uint32_t> ids_;
};

}  // namespace

size_t CachedTokens(const ThroughputSpec& spec, size_t context) {
  return Lengths(spec, context).all;
}

size_t ModelSteps(std::span<const ThroughputModel> models, const ThroughputSpec& spec) {
  const size_t kinds = (spec.prefill > 0 ? 1 : 0) + (spec.decode > 0 ? 1 : 0);
  return models.size() * kinds * spec.repetitions * spec.threads.size();
}

void MeasureModels(std::span<const ThroughputModel> models, const ThroughputSpec& spec,
                   std::span<const std::unique_ptr<Team>> teams, Rng& rng, Steps& steps,
                   std::span<CellThroughput> cells) {
  if (ModelSteps(models, spec) == 0) return;
  const std::string what = "prefill and decode";
  for (size_t team = 0; team < teams.size(); ++team) {
    std::vector<std::unique_ptr<Runner>> runners;
    for (const ThroughputModel& model : models) {
      steps.Look(what);
      runners.push_back(std::make_unique<Runner>(*model.subject, spec, teams[team].get(), rng));
    }
    std::vector<Contender> contenders;
    for (const auto& runner : runners) {
      const Lengths& lengths = runner->lengths();
      steps.Look(what);
      if (lengths.prefill > 0) {
        runner->Prefill();
        contenders.push_back({[&] { runner->Prefill(); }, 1, spec.repetitions});
      }
      if (lengths.decode > 0) {
        constexpr size_t kWarmUp = 4;
        runner->Decode(std::min(kWarmUp, lengths.decode));
        contenders.push_back({[&] { runner->Decode(lengths.decode); }, 1, spec.repetitions});
      }
    }
    size_t taken = 0;
    std::vector<Samples> samples = Interleave(contenders, spec.repetitions, rng,
                                              [&] { steps.Done(taken++ > 0 ? 1 : 0, what); });
    steps.Done(1, what);
    size_t next = 0;
    for (size_t m = 0; m < models.size(); ++m) {
      const Lengths& lengths = runners[m]->lengths();
      const size_t threads = spec.threads[team];
      if (lengths.prefill > 0)
        cells[m].prefill.push_back({lengths.prefill, threads, std::move(samples[next++])});
      if (lengths.decode > 0)
        cells[m].decode.push_back({lengths.decode, threads, std::move(samples[next++])});
    }
  }
}

}  // namespace quantref
