#include "quantizers/registry.h"

#include "quantizers/awq.h"
#include "quantizers/gptq.h"
#include "quantizers/rtn.h"
#include "quantizers/smoothquant.h"

namespace quantref {
namespace {

template <typename T>
const T* Find(const std::vector<const T*>& plugins, std::string_view name) {
  for (const T* plugin : plugins) {
    if (plugin->name() == name) return plugin;
  }
  return nullptr;
}

}  // namespace

const std::vector<const Rounder*>& Rounders() {
  static const Rtn rtn;
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
