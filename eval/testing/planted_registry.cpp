#include <algorithm>
#include <vector>

#include "harness/quant/affine.h"
#include "quantizers/awq.h"
#include "quantizers/gptq.h"
#include "quantizers/registry.h"
#include "quantizers/smoothquant.h"

// quantizers/registry.h for a run_eval with a mistake in one method, as a regression would make it:
// "rtn" rounds down instead of to nearest. The others are as they are.

namespace quantref {
namespace {

class RoundsDown final : public Rounder {
 public:
  std::string_view name() const override { return "rtn"; }
  std::string_view summary() const override { return "a planted mistake"; }
  Rounded Round(const RoundInput& input) const override {
    PackedMatrix packed = RoundToNearest(input.weights, input.scheme, input.limits);
    std::vector<uint8_t> codes(packed.cols());
    std::vector<float> values(packed.cols());
    for (size_t row = 0; row < packed.rows(); ++row) {
      packed.GetCodes(row, codes);
      packed.DecodeRow(row, values);
      for (size_t c = 0; c < codes.size(); ++c) {
        if (values[c] > input.weights(row, c) && codes[c] > 0) --codes[c];
      }
      packed.SetCodes(row, codes);
    }
    return {std::move(packed)};
  }
};

template <typename T>
const T* Find(const std::vector<const T*>& plugins, std::string_view name) {
  const auto found = std::find_if(plugins.begin(), plugins.end(),
                                  [&](const T* plugin) { return plugin->name() == name; });
  return found == plugins.end() ? nullptr : *found;
}

}  // namespace

const std::vector<const Rounder*>& Rounders() {
  static const RoundsDown rtn;
  static const Gptq gptq;
  static const std::vector<const Rounder*> rounders = {&rtn, &gptq};
  return rounders;
}

const std::vector<const Transform*>& Transforms() {
  static const SmoothQuant smoothquant;
  static const Awq awq;
  static const std::vector<const Transform*> transforms = {&smoothquant, &awq};
  return transforms;
}

const Rounder* FindRounder(std::string_view name) { return Find(Rounders(), name); }
const Transform* FindTransform(std::string_view name) { return Find(Transforms(), name); }

}  // namespace quantref
