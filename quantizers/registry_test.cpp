#include "quantizers/registry.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "harness/quant/quant_testing.h"
#include "harness/quant/scheme.h"
#include "harness/testing/testing.h"

// What every plugin says of itself, and that the registry has them all.

namespace quantref {
namespace {

void CheckKnobs(const Plugin& plugin) {
  std::set<std::string_view> names;
  for (const Knob& knob : plugin.knobs()) {
    INFO("knob " << knob.name);
    CHECK(names.insert(knob.name).second);
    CHECK_FALSE(knob.name.empty());
    CHECK_FALSE(knob.about.empty());
    CHECK(knob.otherwise >= knob.least);
    CHECK(knob.otherwise <= knob.most);
    if (knob.kind != Knob::Kind::kReal) CHECK(knob.otherwise == std::floor(knob.otherwise));
    if (knob.kind != Knob::Kind::kFlag) continue;
    CHECK(knob.least == 0);
    CHECK(knob.most == 1);
  }
}

// "gptq.act_order: false or gptq.static_groups: true": knobs that the plugin has.
void CheckRemedy(const Plugin& plugin, const std::string& remedy) {
  INFO(plugin.name() << ": " << remedy);
  const std::string prefix = std::string(plugin.name()) + ".";
  size_t named = 0;
  for (size_t at = remedy.find(prefix); at != remedy.npos; at = remedy.find(prefix, at)) {
    at += prefix.size();
    const std::string knob = remedy.substr(at, remedy.find(':', at) - at);
    INFO(knob);
    CHECK(std::ranges::count(plugin.knobs(), knob, &Knob::name) == 1);
    ++named;
  }
  CHECK((named > 0) == !remedy.empty());
}

TEST_CASE("registry: names and knobs") {
  REQUIRE_FALSE(Rounders().empty());
  std::set<std::string_view> names;
  for (const Plugin* plugin : AllPlugins()) {
    const std::string_view name = plugin->name();
    INFO(name);
    CHECK(names.insert(name).second);
    CHECK_FALSE(name.empty());
    // '+' and ',' join methods in configs and on the command line.
    CHECK(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == name.npos);
    CHECK_FALSE(plugin->summary().empty());
    CHECK(plugin->summary().find('\n') == std::string_view::npos);
    CheckKnobs(*plugin);
  }
  for (const Rounder* rounder : Rounders()) {
    CHECK(FindRounder(rounder->name()) == rounder);
    CheckRemedy(*rounder, std::string(rounder->InPlace()));
  }
  for (const Transform* transform : Transforms()) {
    CHECK(FindTransform(transform->name()) == transform);
  }
  for (const ModelTransform* transform : ModelTransforms()) {
    CHECK(FindModelTransform(transform->name()) == transform);
    CheckRemedy(*transform, std::string(transform->InWeights()));
  }
  CHECK(FindRounder("nothing") == nullptr);
  CHECK(FindRounder("") == nullptr);
  CHECK(FindRounder("rtn") == &ToNearest());
  CHECK(FindTransform("rtn") == nullptr);
  CHECK(FindModelTransform("awq") == nullptr);
}

TEST_CASE("registry: every plugin supports something, and says in one line why not the rest") {
  std::vector<WeightScheme> schemes = testing::AllSchemes({kMinBits, 3, 4, kMaxBits}, 16);
  const std::vector<WeightScheme> others = testing::FormatSchemes(16);
  schemes.insert(schemes.end(), others.begin(), others.end());
  for (const Plugin* plugin : AllPlugins()) {
    size_t supported = 0;
    for (const WeightScheme& scheme : schemes) {
      INFO(plugin->name() << ", " << SchemeName(scheme));
      supported += plugin->Supports(scheme);
      CHECK(plugin->WhyNot(scheme).find('\n') == std::string::npos);
    }
    INFO(plugin->name());
    CHECK(supported > 0);
  }
}

// A header is that of a plugin, by name, or a part of one: "gptq.h", "gptq_solver.h".
TEST_CASE("registry: no header of this folder is missing") {
  std::set<std::string> stems;
  for (const auto& entry :
       std::filesystem::directory_iterator(testing::SourceDir() / "quantizers")) {
    const std::string stem = entry.path().stem().string();
    if (entry.path().extension() != ".h" || stem == "registry") continue;
    if (stem.ends_with("_testing")) continue;  // what tests share
    stems.insert(stem);
    INFO(stem << ".h: its plugin is named after it and belongs into registry.cpp");
    bool known = false;
    for (const Plugin* plugin : AllPlugins()) {
      const std::string name(plugin->name());
      known |= stem == name || stem.starts_with(name + "_");
    }
    CHECK(known);
  }
  for (const Plugin* plugin : AllPlugins()) {
    INFO(plugin->name());
    CHECK(stems.contains(std::string(plugin->name())));
  }
}

}  // namespace
}  // namespace quantref
