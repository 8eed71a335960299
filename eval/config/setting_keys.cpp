#include "eval/config/setting_keys.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include "harness/base/setting_error.h"

namespace quantref {
namespace {

// What the harness complains of, by its names.
struct SettingKey {
  std::string_view setting, key;
};
constexpr SettingKey kSettingKeys[] = {
    {"keep", "quantize.keep"},
    {"overrides", "quantize.overrides"},
    {"transforms", "quantize.methods"},
    {"outlier_threshold", "quantize.activations.outlier_threshold"},
    {"per_token", "quantize.activations.granularity"},
    {"lora.targets", "quantize.lora.targets"},
    {"lora.rank", "quantize.lora.rank"},
    {"sequential", "calibration.sequential"},
    {"rate", "finetune.lr"},
};

}  // namespace

Error InConfigsWords(const Error& error) {
  if (dynamic_cast<const SettingError*>(&error) == nullptr) return error;
  const auto row = std::ranges::find(kSettingKeys, error.where(), &SettingKey::setting);
  if (row == std::end(kSettingKeys)) return error;
  return {error.problem(), std::string(row->key), error.hint()};
}

}  // namespace quantref
