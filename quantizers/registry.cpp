#include "quantizers/registry.h"

#include "quantizers/awq.h"
#include "quantizers/gptq.h"
#include "quantizers/hqq.h"
#include "quantizers/quarot.h"
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

const Rounder& ToNearest() {
  static const Rtn rtn;
  return rtn;
}

const std::vector<const Rounder*>& Rounders() {
  static const Gptq gptq;
  static const Hqq hqq;
  static const std::vector<const Rounder*> rounders = {&ToNearest(), &gptq, &hqq};
  return rounders;
}

const std::vector<const Transform*>& Transforms() {
  static const SmoothQuant smoothquant;
  static const Awq awq;
  static const std::vector<const Transform*> transforms = {&smoothquant, &awq};
  return transforms;
}

const std::vector<const ModelTransform*>& ModelTransforms() {
  static const QuaRot quarot;
  static const std::vector<const ModelTransform*> transforms = {&quarot};
  return transforms;
}

const Rounder* FindRounder(std::string_view name) { return Find(Rounders(), name); }
const Transform* FindTransform(std::string_view name) { return Find(Transforms(), name); }
const ModelTransform* FindModelTransform(std::string_view name) {
  return Find(ModelTransforms(), name);
}

std::vector<const Plugin*> AllPlugins() {
  std::vector<const Plugin*> all(ModelTransforms().begin(), ModelTransforms().end());
  all.insert(all.end(), Transforms().begin(), Transforms().end());
  all.insert(all.end(), Rounders().begin(), Rounders().end());
  return all;
}

}  // namespace quantref
