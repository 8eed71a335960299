#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <memory>
#include <set>

#include "harness/method/calibrated_block_testing.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "quantizers/registry.h"

// What every transform promises, whatever its method. A new one is under test as soon as it is in
// the registry, with its defaults and with each of its flags turned over.

namespace quantref {
namespace {

using testing::BlockSpec;
using testing::NormalMatrix;
using testing::RelativeDifference;
using testing::TestBlock;

struct NastyBlock {
  const char* name;
  BlockSpec spec;
  std::function<void(TestBlock&)> spoil;
};

void EraseColumn(TestBlock& test, size_t linear, size_t column) {
  test.Edit(linear, [&](size_t, size_t c, float& weight) { weight = c == column ? 0 : weight; });
}

const std::vector<NastyBlock>& NastyBlocks() {
  static const std::vector<NastyBlock> blocks = {
      {"random", {}, [](TestBlock&) {}},
      {"shared heads, biases", {.kv_heads = 2, .bias = true}, [](TestBlock&) {}},
      {"one token", {.samples = 1, .tokens = 1}, [](TestBlock&) {}},
      {"dead channels",
       {},
       [](TestBlock& test) {
         test.block.weights.norms[kAttentionNorm][3] = test.block.weights.norms[kMlpNorm][0] = 0;
         for (const size_t linear : {kV, kUp}) {
           test.Edit(linear, [](size_t r, size_t, float& weight) { weight = r % 8 ? weight : 0; });
         }
       }},
      // As models have them: loud where queries and keys do not listen.
      {"a huge outlier channel",
       {},
       [](TestBlock& test) {
         test.block.weights.norms[kAttentionNorm][5] *= 1e4f;
         test.block.weights.norms[kMlpNorm][5] *= 1e4f;
         for (const size_t linear : {kQ, kK}) {
           test.Edit(linear, [](size_t, size_t c, float& weight) { weight *= c == 5 ? 1e-4f : 1; });
         }
       }},
      {"constant rows",
       {},
       [](TestBlock& test) {
         for (const size_t linear : {kK, kV, kGate, kDown}) {
           test.Edit(linear, [](size_t r, size_t, float& weight) {
             weight = 0.01f * (static_cast<float>(r) - 10);
           });
         }
       }},
      {"columns without weights",
       {},
       [](TestBlock& test) {
         for (const size_t linear : {kQ, kK, kV, kO, kUp, kDown}) EraseColumn(test, linear, 7);
       }},
      {"an MLP without weights",
       {},
       [](TestBlock& test) {
         for (const size_t linear : {kGate, kUp, kDown}) {
           test.Edit(linear, [](size_t, size_t, float& weight) { weight = 0; });
         }
       }},
  };
  return blocks;
}

struct Setting {
  WeightScheme scheme;
  std::optional<ActivationScheme> activations;
};

// Of a format beside `int`, in groups of 16 where it leaves them open.
WeightScheme InFormat(const char* name, bool double_quant = false) {
  const NumberFormat& format = *FindFormat(name);
  WeightScheme scheme = SchemeOf(format);
  scheme.granularity = Granularity::kGroup;
  if (!format.fixed_group) scheme.group = 16;
  scheme.double_quant = double_quant;
  return scheme;
}

// Kinds of scales, of zero points and of activations; format_models_test.cpp has all formats.
std::vector<Setting> AllSettings() {
  const ActivationScheme mixed{.outliers = OutlierRule{.threshold = 2}};
  const ActivationScheme floats{.bits = 4, .group = 16, .format = FindFormat("nvfp4")};
  return {{{.bits = 3, .granularity = Granularity::kGroup, .group = 16}, std::nullopt},
          {{.bits = 4, .granularity = Granularity::kRow, .symmetric = true}, ActivationScheme{}},
          {{.bits = 8, .granularity = Granularity::kTensor, .zero_in_range = false},
           ActivationScheme{.per_token = false}},
          {{.bits = 2, .granularity = Granularity::kColumn},
           ActivationScheme{.bits = 4, .per_token = false, .dynamic = false}},
          {InFormat("nf4", true), mixed},
          {InFormat("nvfp4"), floats},
          {InFormat("float_zero"), ActivationScheme{.bits = 4, .group = 16}}};
}

std::unique_ptr<TestBlock> Make(const NastyBlock& nasty, const Setting& setting) {
  auto test = std::make_unique<TestBlock>(nasty.spec);
  nasty.spoil(*test);
  test->Calibrate();
  test->Quantize(setting.scheme);
  test->block.activations = setting.activations;
  return test;
}

std::vector<Knobs> KnobsToTry(const Transform& transform) {
  std::vector<Knobs> all = {Knobs(transform.knobs())};
  for (const Knob& knob : transform.knobs()) {
    if (knob.kind != Knob::Kind::kFlag) continue;
    all.push_back(all.front());
    all.back().Set(knob.name, 1 - knob.otherwise);
  }
  return all;
}

struct Case {
  std::string name;
  WeightScheme scheme;
  std::shared_ptr<const TestBlock> before;  // cases of other transforms share it
  std::unique_ptr<TestBlock> after;
};

// Every transform, knobs, nasty block and setting.
const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = [] {
    std::vector<Case> made;
    for (const NastyBlock& nasty : NastyBlocks()) {
      for (const Setting& setting : AllSettings()) {
        const std::shared_ptr<const TestBlock> before = Make(nasty, setting);
        for (const Transform* transform : Transforms()) {
          const std::vector<Knobs> to_try = KnobsToTry(*transform);
          for (size_t i = 0; i < to_try.size(); ++i) {
            const std::string name = std::string(transform->name()) + ", knobs " +
                                     std::to_string(i) + ", " + nasty.name + ", " +
                                     SchemeName(setting.scheme);
            INFO(name);
            made.push_back({name, setting.scheme, before, Make(nasty, setting)});
            transform->Apply(made.back().after->block, to_try[i], 1);
          }
        }
      }
    }
    return made;
  }();
  return cases;
}

template <typename T>
MatrixView<const T> AsRow(const std::vector<T>& values) {
  return {values.data(), 1, values.size()};
}

template <typename T>
bool SameBits(MatrixView<const T> a, MatrixView<const T> b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.rows() * a.cols() * sizeof(T)) == 0;
}

bool SameBlock(const CalibratedBlock& a, const CalibratedBlock& b) {
  bool same =
      SameBits(AsRow(a.weights.norms[kAttentionNorm]), AsRow(b.weights.norms[kAttentionNorm])) &&
      SameBits(AsRow(a.weights.norms[kMlpNorm]), AsRow(b.weights.norms[kMlpNorm])) &&
      a.notes == b.notes;
  for (size_t i = 0; i < kLinears; ++i) {
    const Linear &left = a.weights.linears[i], &right = b.weights.linears[i];
    const Matrix<float> left_weights = left.weight.Decode(), right_weights = right.weight.Decode();
    same = same && SameBits<float>(left_weights.view(), right_weights.view()) &&
           SameBits(AsRow(left.bias), AsRow(right.bias)) &&
           SameBits<float>(a.limits[i].view(), b.limits[i].view());
  }
  for (size_t i = 0; i < kTaps; ++i) {
    same = same && SameBits<double>(a.inputs[i].gram.view(), b.inputs[i].gram.view());
  }
  return same;
}

// The fields of InputStatistics as rows of numbers; `gram` by its diagonal and its first row.
std::vector<Matrix<float>> Fields(const InputStatistics& input) {
  std::vector<Matrix<float>> fields;
  const auto add = [&](size_t size, const auto& value) {
    Matrix<float>& field = fields.emplace_back(1, size);
    for (size_t i = 0; i < size; ++i) field(0, i) = static_cast<float>(value(i));
  };
  const size_t channels = input.channel_max.size();
  add(channels, [&](size_t j) { return input.channel_max[j]; });
  add(channels, [&](size_t j) { return input.channel_mean[j]; });
  add(channels, [&](size_t j) { return input.gram(j, j); });
  add(channels, [&](size_t j) { return input.gram(0, j); });
  for (const Matrix<float>& x : input.kept) fields.push_back(testing::Copy(x));
  return fields;
}

TEST_CASE("transform contract: the block's FP32 function stays the same", "[contract]") {
  for (const Case& tried : Cases()) {
    INFO(tried.name);
    const Matrix<float>& seen = tried.before->samples.back();
    Rng rng(99);
    const Matrix<float> unseen = NormalMatrix(seen.rows(), seen.cols(), rng, 2);
    for (const Matrix<float>* hidden : {&seen, &unseen}) {
      const Matrix<float> wanted = tried.before->Output(*hidden);
      CHECK(RelativeDifference(tried.after->Output(*hidden).view(), wanted.view()) < 1e-4);
    }
  }
}

TEST_CASE("transform contract: statistics follow", "[contract]") {
  for (const Case& tried : Cases()) {
    INFO(tried.name);
    const auto collected = tried.after->Collect();
    for (size_t i = 0; i < kTaps; ++i) {
      const std::vector<Matrix<float>> folded = Fields(tried.after->block.inputs[i]);
      const std::vector<Matrix<float>> again = Fields(collected[i]);
      REQUIRE(folded.size() == again.size());
      for (size_t k = 0; k < folded.size(); ++k) {
        INFO("tap " << i << ", field " << k);
        CHECK(RelativeDifference(folded[k].view(), again[k].view()) < 1e-4);
      }
    }
  }
}

TEST_CASE("transform contract: what is left can be rounded", "[contract]") {
  for (const Case& tried : Cases()) {
    INFO(tried.name);
    const CalibratedBlock& block = tried.after->block;
    bool finite = true;
    for (const auto* gain :
         {&block.weights.norms[kAttentionNorm], &block.weights.norms[kMlpNorm]}) {
      for (const float value : *gain) finite &= std::isfinite(value);
    }
    for (size_t i = 0; i < kLinears; ++i) {
      const Matrix<float>& limits = block.limits[i];
      for (size_t k = 0; k < limits.rows() * limits.cols(); ++k) {
        finite &= std::isfinite(limits.data()[k]) && limits.data()[k] >= 0;
      }
      // Checks that all weights are finite, and the shape of the limits.
      RoundToNearest(block.weights.linears[i].weight.Decode().view(), tried.scheme, limits.view());
    }
    CHECK(finite);
  }
}

TEST_CASE("transform contract: the same bits again, and for any number of threads", "[contract]") {
  for (const Transform* transform : Transforms()) {
    for (const Knobs& knobs : KnobsToTry(*transform)) {
      for (const Setting& setting : AllSettings()) {
        INFO(transform->name() << ", " << SchemeName(setting.scheme));
        const auto once = Make(NastyBlocks().front(), setting);
        transform->Apply(once->block, knobs, 1);
        for (const size_t threads : {1u, 2u, 4u}) {
          const auto again = Make(NastyBlocks().front(), setting);
          transform->Apply(again->block, knobs, threads);
          CHECK(SameBlock(again->block, once->block));
        }
      }
    }
  }
}

TEST_CASE("transform contract: a block that is kept is left alone", "[contract]") {
  for (const Transform* transform : Transforms()) {
    for (const Knobs& knobs : KnobsToTry(*transform)) {
      INFO(transform->name());
      const TestBlock before({});
      TestBlock test({});
      const BlockWeights weights = test.block.weights;
      transform->Apply(test.block, knobs, 2);
      CHECK(SameBlock(test.block, before.block));
      for (size_t i = 0; i < kLinears; ++i) {
        CHECK(test.block.weights.linears[i].weight.SharesStorage(weights.linears[i].weight));
        CHECK(test.block.limits[i].rows() == 0);
      }
    }
  }
}

void EraseBetweenGroups(size_t group, Matrix<double>& gram) {
  for (size_t i = 0; i < gram.rows(); ++i) {
    for (size_t j = 0; j < gram.cols(); ++j) {
      if (i / group != j / group) gram(i, j) = 0;
    }
  }
}

TEST_CASE("transform contract: what it does not ask for, it does not read", "[contract]") {
  for (const Transform* transform : Transforms()) {
    for (const Knobs& knobs : KnobsToTry(*transform)) {
      INFO(transform->name());
      const auto all = Make(NastyBlocks().front(), AllSettings().front());
      const auto asked = Make(NastyBlocks().front(), AllSettings().front());
      const DataNeeds needs = transform->needs(knobs);
      for (InputStatistics& input : asked->block.inputs) {
        if (!needs.channel_max) input.channel_max.clear();
        if (!needs.channel_mean) input.channel_mean.clear();
        if (!needs.gram && !needs.gram_blocks) input.gram = {};
        if (!needs.gram) EraseBetweenGroups(AllSettings().front().scheme.group, input.gram);
        if (needs.kept == 0) input.kept.clear();
      }
      transform->Apply(all->block, knobs, 1);
      transform->Apply(asked->block, knobs, 1);
      if (!needs.gram) all->block.inputs = {}, asked->block.inputs = {};
      CHECK(SameBlock(asked->block, all->block));
    }
  }
}

TEST_CASE("transform contract: names and knobs", "[contract]") {
  REQUIRE_FALSE(Transforms().empty());
  std::set<std::string_view> names;
  for (const Rounder* rounder : Rounders()) names.insert(rounder->name());
  for (const Transform* transform : Transforms()) {
    const std::string_view name = transform->name();
    INFO(name);
    CHECK(names.insert(name).second);
    CHECK(FindTransform(name) == transform);
    // '+' and ',' join methods in configs and on the command line.
    CHECK(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == name.npos);
    CHECK_FALSE(transform->summary().empty());
    CHECK(transform->summary().find('\n') == std::string_view::npos);
    std::set<std::string_view> knobs;
    for (const Knob& knob : transform->knobs()) {
      INFO(knob.name);
      CHECK(knobs.insert(knob.name).second);
      CHECK_FALSE(knob.about.empty());
      CHECK(knob.least <= knob.otherwise);
      CHECK(knob.otherwise <= knob.most);
    }
  }
  CHECK(FindTransform("nothing") == nullptr);
}

}  // namespace
}  // namespace quantref
