#include "eval/config/read_throughput.h"

#include <algorithm>

#include "eval/record/schema.h"

namespace quantref {
namespace {

constexpr size_t kMostTimedTokens = size_t{1} << 16, kMostThreads = 1024;

void CheckDistinct(YamlReader& yaml, const std::string& key, const std::vector<size_t>& values) {
  if (values.empty()) yaml.Fail(key, "a list of at least one number");
  for (const size_t value : values) {
    if (std::count(values.begin(), values.end(), value) > 1)
      yaml.Fail(key, "a list of different numbers");
  }
}

// One number, or a list of them.
void ReadThreads(YamlReader& yaml, std::vector<size_t>& threads) {
  if (!yaml.Has("threads")) return;
  if (yaml.IsScalar("threads")) {
    threads.resize(1);
    return yaml.Set("threads", threads[0], 1, kMostThreads);
  }
  yaml.Set("threads", threads, 1, kMostThreads);
  CheckDistinct(yaml, "threads", threads);
}

}  // namespace

ThroughputSpec ReadThroughput(YamlReader& yaml) {
  ThroughputSpec spec;
  if (!yaml.Has("throughput")) return spec;
  if (!yaml.IsMap("throughput")) {
    spec.measure = yaml.Choice("throughput", {"none", "false", "true"}, "true") == "true";
    return spec;
  }
  YamlReader section = yaml.Map("throughput");
  section.Set("kernels", spec.kernels);
  section.Set("standard_shapes", spec.standard_shapes);
  section.Set("tokens", spec.tokens, 1, kMostTimedTokens);
  CheckDistinct(section, "tokens", spec.tokens);
  section.Set("prefill", spec.prefill, 0, kMostTimedTokens);
  section.Set("decode", spec.decode, 0, kMostTimedTokens);
  section.Set("repetitions", spec.repetitions, 1, kMostRepetitions);
  ReadThreads(section, spec.threads);
  section.RefuseUnknownKeys();
  if (!spec.kernels && spec.prefill == 0 && spec.decode == 0)
    yaml.Fail("throughput", "kernels, prefill or decode to measure", "or throughput: none");
  return spec;
}

}  // namespace quantref
