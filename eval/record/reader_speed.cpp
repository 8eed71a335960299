#include "eval/record/reader_speed.h"

#include <set>
#include <utility>

#include "eval/record/schema.h"

namespace quantref {
namespace {

void ReadRates(const RecordFields& fields, bool decode, StoredSpeed& speed) {
  const char* path = decode ? "throughput.decode_tokens_s" : "throughput.prefill_tokens_s";
  std::set<RateName> names;
  for (const RecordFields& entry : fields.Maps(path)) {
    StoredRate rate{{decode, entry.CountFromOne("tokens"), entry.CountFromOne("threads")},
                    entry.Positives("samples", 1, kMostRepetitions)};
    if (!names.insert(rate.name).second) {
      entry.Fail("tokens", "each number of tokens and threads once",
                 rate.name.Text() + " for the second time");
    }
    speed.rates.push_back(std::move(rate));
  }
}

void ReadKernels(const RecordFields& fields, StoredSpeed& speed) {
  for (const RecordFields& entry : fields.Maps("throughput.kernels")) {
    StoredKernel kernel;
    kernel.name = {entry.Text("op"),
                   entry.CountFromOne("rows"),
                   entry.CountFromOne("cols"),
                   entry.CountFromOne("tokens"),
                   entry.CountFromOne("threads"),
                   entry.Flag("streamed")};
    kernel.ns = entry.Positive("ns");
    speed.kernels.push_back(std::move(kernel));
  }
}

void ReadRooflines(const RecordFields& fields, StoredSpeed& speed) {
  for (const RecordFields& entry : fields.Maps("throughput.roofline")) {
    StoredRoofline roofline;
    roofline.threads = entry.CountFromOne("threads");
    for (const char* limit : kRooflineLimits) roofline.limits.push_back(entry.NotNegative(limit));
    speed.rooflines.push_back(std::move(roofline));
  }
}

}  // namespace

std::optional<StoredSpeed> ReadSpeed(const RecordFields& record) {
  if (!record.Has("throughput")) return std::nullopt;
  record.Map("throughput");
  StoredSpeed speed;
  ReadRates(record, false, speed);
  ReadRates(record, true, speed);
  ReadKernels(record, speed);
  ReadRooflines(record, speed);
  speed.free_before = record.NotNegative("throughput.free_cores.before");
  speed.free_after = record.NotNegative("throughput.free_cores.after");
  speed.busy = record.Flag("throughput.busy");
  return speed;
}

}  // namespace quantref
