#include "eval/config/parse_method.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "eval/support/nearest.h"
#include "harness/base/error.h"
#include "harness/base/setting_error.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

// What changes the whole model comes first, and once.
void CheckModelTransform(YamlReader& yaml, const std::string& key, const std::string& name,
                         const CellConfig& cell) {
  for (const std::string& before : cell.transforms) {
    if (FindModelTransform(before) != nullptr && before != name) continue;
    throw Error(fmt::format("'{}' changes the whole model: it comes first, and once", name),
                yaml.Where(key), fmt::format("begin with it: {}+awq+gptq", name));
  }
  if (cell.training != Training::kNone)
    throw Error(fmt::format("'{}' rotates on the way, which training does not pass back", name),
                yaml.Where(key), fmt::format("leave out +{}", SuffixOf(cell.training)));
}

// Takes what trains off the end of a method; all of it where that rounds nothing.
std::string TakeTraining(YamlReader& yaml, const std::string& key, const std::string& method,
                         Training& training) {
  if (method == kFullMethod) {
    training = Training::kFull;
    return std::string(ToNearest().name());
  }
  for (const Training behind : {Training::kQat, Training::kLora}) {
    const std::string suffix(SuffixOf(behind));
    if (method == suffix) {
      throw Error(fmt::format("'{}' trains behind a method", suffix), yaml.Where(key),
                  fmt::format("rtn+{0}, gptq+{0}, awq+rtn+{0}", suffix));
    }
    if (!method.ends_with("+" + suffix)) continue;
    training = behind;
    return method.substr(0, method.size() - suffix.size() - 1);
  }
  return method;
}

}  // namespace

void ParseMethod(YamlReader& yaml, const std::string& key, const std::string& whole,
                 CellConfig& cell) {
  cell.rounder = ToNearest().name();
  const std::string method = TakeTraining(yaml, key, whole, cell.training);
  std::vector<std::string> known;
  for (const Plugin* plugin : AllPlugins()) known.emplace_back(plugin->name());
  const std::vector<std::string> trains = {kQatMethod, kLoraMethod, kFullMethod};
  known.insert(known.end(), trains.begin(), trains.end());
  for (size_t begin = 0; begin <= method.size();) {
    const size_t end = std::min(method.find('+', begin), method.size());
    const std::string part = method.substr(begin, end - begin);
    if (FindModelTransform(part) != nullptr) {
      CheckModelTransform(yaml, key, part, cell);
      cell.transforms.push_back(part);
    } else if (FindTransform(part) != nullptr) {
      cell.transforms.push_back(part);
    } else if (std::find(trains.begin(), trains.end(), part) != trains.end()) {
      throw Error(fmt::format("'{}' stands in '{}' where it cannot", part, whole), yaml.Where(key),
                  "qat or lora is the last part, behind a rounder: gptq+qat; full stands alone");
    } else if (FindRounder(part) == nullptr) {
      throw Error(fmt::format("unknown method '{}'{}", part, DidYouMean(part, known)),
                  yaml.Where(key), "fp16, the reference, is always measured and need not be named");
    } else if (end < method.size()) {
      throw Error(fmt::format("'{}' rounds, so it can only be the last of '{}'", part, method),
                  yaml.Where(key), "transforms come first: smoothquant+gptq");
    } else {
      cell.rounder = part;
    }
    begin = end + 1;
  }
}

void CheckTransforms(YamlReader& yaml, const CellConfig& cell) {
  try {
    CheckClippedLast(cell.MakeMethod());
  } catch (const SettingError& error) {
    throw Error(fmt::format("{}: {}", cell.label, error.problem()), yaml.Where("methods"),
                error.hint());
  }
}

}  // namespace quantref
