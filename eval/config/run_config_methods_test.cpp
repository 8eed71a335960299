// What a config says of methods: names, chains, entries with values of their own, knobs.

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/testing/read_config.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::CheckBadLines;
using testing::ReadConfigLine;
using Strings = std::vector<std::string>;

RunConfig ReadMethods(const std::string& methods, const std::string& rest = "") {
  return ReadConfigLine("quantize: {methods: [" + methods + "]" + rest + "}");
}

// The only cell.
CellConfig ReadMethod(const std::string& method, const std::string& rest = "") {
  const RunConfig config = ReadMethods(method, rest);
  REQUIRE(config.cells.size() == 1);
  return config.cells[0];
}

Strings Names(const Method& method) {
  Strings names;
  for (const Transform* transform : method.transforms) names.emplace_back(transform->name());
  names.emplace_back(method.rounder->name());
  return names;
}

TEST_CASE("config: a method is a rounder, or transforms and a rounder") {
  const auto names = [](const std::string& method) {
    return Names(ReadMethod(method).MakeMethod());
  };
  CHECK(names("rtn") == Strings{"rtn"});
  CHECK(names("gptq") == Strings{"gptq"});
  CHECK(names("awq+gptq") == Strings{"awq", "gptq"});
  CHECK(names("smoothquant+awq+gptq") == Strings{"smoothquant", "awq", "gptq"});
  CHECK(names("awq") == Strings{"awq", "rtn"});
  CHECK(names("smoothquant+awq") == Strings{"smoothquant", "awq", "rtn"});
}

TEST_CASE("config: methods that are only named bear that name, in their order") {
  const RunConfig config = ReadMethods("gptq, awq, awq+rtn, smoothquant+gptq");
  Strings labels;
  for (const CellConfig& cell : config.cells) labels.push_back(cell.label);
  CHECK(labels == Strings{"gptq", "awq", "awq+rtn", "smoothquant+gptq"});
  for (const CellConfig& cell : config.cells) {
    CHECK(cell.quantize.weights == config.general.quantize.weights);
    CHECK(cell.knobs == config.general.knobs);
    CHECK(cell.activations == config.general.activations);
  }
}

TEST_CASE("config: methods that are none") {
  const std::string in = "quantize.methods: ";
  CheckBadLines({
      {"quantize: {methods: [gptq+awq]}",
       {in + "'gptq' rounds, so it can only be the last of 'gptq+awq'", "smoothquant+gptq"}},
      {"quantize: {methods: [awq+rtn+gptq]}", {"'rtn' rounds", "the last of 'awq+rtn+gptq'"}},
      {"quantize: {methods: [awk]}", {in + "unknown method 'awk' (did you mean 'awq'?)"}},
      {"quantize: {methods: [awq+gtpq]}", {"unknown method 'gtpq' (did you mean 'gptq'?)"}},
      {"quantize: {methods: [smooth+gptq]}", {"unknown method 'smooth'", "'smoothquant'?"}},
      {"quantize: {methods: [awq+]}", {in + "unknown method ''"}},
      {"quantize: {methods: [+rtn]}", {"unknown method ''"}},
      {"quantize: {methods: ['']}", {"unknown method ''"}},
      {"quantize: {methods: [fp16]}", {"unknown method 'fp16'", "need not be named"}},
      {"quantize: {methods: [{method: awk, label: x}]}",
       {"quantize.methods[0].method: unknown method 'awk' (did you mean 'awq'?)"}},
      {"quantize: {methods: [{method: gptq+rtn, label: x}]}",
       {"quantize.methods[0].method: 'gptq' rounds"}},
  });
  CHECK_ERROR(ReadMethods("{label: x}"), "quantize.methods[0].method", "unknown method ''");
}

TEST_CASE("config: a method's map overrides any key of the section, for itself") {
  const std::string general =
      ", weights: {bits: 4, group: 64}, activations: {bits: 8}, keep: [lm_head], "
      "overrides: [{match: a, bits: 8}], awq: {grid: 10}, gptq: {damp: 0.5}";
  const RunConfig config = ReadMethods(
      "gptq, {method: awq+gptq, label: mine, weights: {bits: 3, symmetric: true}, "
      "activations: none, keep: [], overrides: [{match: b, bits: 5}, {match: c, keep: true}], "
      "awq: {clip: false}, gptq: {damp: 0.25}}, rtn",
      general);
  REQUIRE(config.cells.size() == 3);
  for (const size_t i : {size_t{0}, size_t{2}}) {  // its neighbours have the section's values
    const CellConfig& cell = config.cells[i];
    CHECK(cell.quantize.weights == config.general.quantize.weights);
    CHECK(cell.quantize.keep == Strings{"lm_head"});
    CHECK(cell.activations == ActivationScheme{});
    REQUIRE(cell.quantize.overrides.size() == 1);
    CHECK(cell.quantize.overrides[0].match == "a");
    CHECK(cell.knobs == config.general.knobs);
  }
  const CellConfig& mine = config.cells[1];
  CHECK(mine.label == "mine");
  CHECK(mine.transforms == Strings{"awq"});
  CHECK(mine.rounder == "gptq");
  CHECK(mine.quantize.weights == WeightScheme{.bits = 3, .group = 64, .symmetric = true});
  CHECK_FALSE(mine.activations);
  CHECK(mine.quantize.keep.empty());
  REQUIRE(mine.quantize.overrides.size() == 2);
  CHECK(mine.quantize.overrides[0].match == "b");
  CHECK(mine.knobs.at("awq").Count("grid") == 10);  // what it says nothing of
  CHECK_FALSE(mine.knobs.at("awq").Flag("clip"));
  CHECK(mine.knobs.at("gptq").Real("damp") == 0.25);
  CHECK(mine.MakeMethod().knobs.at("gptq").Real("damp") == 0.25);
  CHECK_FALSE(mine.MakeMethod().activations);
}

TEST_CASE("config: a method's activations differ from the section's where they say so") {
  const std::string fixed = ", activations: {bits: 6, dynamic: false}";
  const auto read = [](const std::string& own, const std::string& general) {
    return *ReadMethod("{method: rtn, label: x, activations: {" + own + "}}", general).activations;
  };
  CHECK(read("bits: 4", fixed) ==
        ActivationScheme{.bits = 4, .per_token = false, .dynamic = false});
  CHECK(read("dynamic: true", fixed) ==
        ActivationScheme{.bits = 6, .per_token = false, .dynamic = true});
  CHECK(read("dynamic: true, granularity: token", fixed) == ActivationScheme{.bits = 6});
  CHECK(read("dynamic: false", ", activations: {bits: 6}") ==
        ActivationScheme{.bits = 6, .per_token = false, .dynamic = false});
  CHECK(read("bits: 4", ", activations: none") == ActivationScheme{.bits = 4});
}

TEST_CASE("config: a method of the other symmetry leaves behind what belonged to the first") {
  const WeightScheme asymmetric = ReadMethod("{method: rtn, label: x, weights: {symmetric: false}}",
                                             ", weights: {symmetric: true, full_range: true}")
                                      .quantize.weights;
  CHECK(asymmetric == WeightScheme{});
  const WeightScheme symmetric = ReadMethod("{method: rtn, label: x, weights: {symmetric: true}}",
                                            ", weights: {zero_in_range: false}")
                                     .quantize.weights;
  CHECK(symmetric == WeightScheme{.symmetric = true});
  // Overrides that the section has cannot be meant.
  CHECK_ERROR(
      ReadMethods("{method: rtn, label: x, weights: {symmetric: false}}",
                  ", weights: {symmetric: true}, overrides: [{match: a, full_range: true}]"),
      "c.yaml:2: quantize.methods[0].weights", "'a'", "full_range");
  CHECK_ERROR(ReadMethods("{method: rtn, label: x, weights: {symmetric: true}}",
                          ", overrides: [{match: a, zero_in_range: false}]"),
              "quantize.methods[0].weights", "'a'", "zero_in_range");
  CHECK_NOTHROW(
      ReadMethods("{method: rtn, label: x, weights: {symmetric: true}, overrides: []}",
                  ", overrides: [{match: a, zero_in_range: false}, {match: b, symmetric: false}]"));
}

TEST_CASE("config: labels are short, fit into file names, and stand once") {
  const auto label = [](const std::string& text) {
    return ReadMethod("{method: rtn, label: " + text + "}").label;
  };
  CHECK(label("a.b_c-d+e=0.5") == "a.b_c-d+e=0.5");
  CHECK(label(std::string(60, 'x')).size() == 60);
  for (const std::string bad : {"a/b", "a b", "ä", "'a:b'", "'a\"b'", "a*"}) {
    INFO(bad);
    CHECK_ERROR(label(bad), "c.yaml:2: quantize.methods[0].label", "expected up to 60 letters");
  }
  CHECK_ERROR(label(std::string(61, 'x')), "expected up to 60 letters");
  CHECK_ERROR(ReadMethods("{method: rtn}"), "methods[0].label", "found nothing");
  CheckBadLines({
      {"quantize: {methods: [awq, gptq, awq]}",
       {"quantize.methods: the method 'awq' stands twice", "label"}},
      {"quantize: {methods: [rtn, {method: gptq, label: rtn}]}", {"'rtn' stands twice"}},
      {"quantize: {methods: [{method: rtn, label: a}, {method: gptq, label: a}]}",
       {"'a' stands twice"}},
      {"quantize: {methods: [{method: rtn, label: fp16}]}", {"'fp16' is the reference"}},
      {"quantize: {methods: [{method: rtn, label: bf16+fp32}]}", {"'bf16+fp32' is the reference"}},
  });
  CHECK(ReadMethods("rtn, {method: rtn, label: other}").cells.size() == 2);
}

TEST_CASE("config: what scales behind what has clipped is refused at its line") {
  CheckBadLines({
      {"quantize: {methods: [rtn, awq+smoothquant]}",
       {"c.yaml:2: quantize.methods: awq+smoothquant: expected what clips weights last",
        "write smoothquant+awq"}},
      {"quantize: {methods: [{method: awq+smoothquant, label: a, awq: {clip: true}}]}",
       {"quantize.methods: a: expected what clips weights last"}},
  });
  CHECK(ReadMethods("awq+smoothquant", ", awq: {clip: false}").cells.size() == 1);
}

TEST_CASE("config: unknown keys of a method's map are errors") {
  CheckBadLines({
      {"quantize: {methods: [{method: rtn, label: a, weihgts: {}}]}",
       {"quantize.methods[0].weihgts: unknown key (did you mean 'weights'?)"}},
      {"quantize: {methods: [{method: rtn, label: a, weights: {bit: 3}}]}",
       {"quantize.methods[0].weights.bit:", "'bits'?"}},
      {"quantize: {methods: [rtn, {method: rtn, label: a, weights: {bits: 1}}]}",
       {"quantize.methods[1].weights.bits", "from 2 to 8, found '1'"}},
      {"quantize: {methods: [{method: awq+rtn, label: a, gptq: {damp: 1}}]}",
       {"gptq: expected nothing, as awq+rtn does not read it"}},
      {"quantize: {methods: [{method: full, label: a, weights: {bits: 2}}]}",
       {"weights: expected nothing, as full rounds no weights"}},
      {"quantize: {methods: [{method: rtn, label: a, gptq: {dump: 1}}]}",
       {"quantize.methods[0].gptq.dump:", "'damp'?"}},
      {"quantize: {methods: [{method: rtn, label: a, methods: [rtn]}]}",
       {"quantize.methods[0].methods: unknown key"}},
      {"quantize: {methods: [{method: [rtn], label: a}]}",
       {"quantize.methods[0].method: expected a string, found a list"}},
  });
}

TEST_CASE("config: knobs have their defaults and are read by their kind") {
  const CellConfig plain = ReadConfigLine("quantize: {}").general;
  CHECK(plain.knobs.at("gptq").Real("damp") == 0.01);
  CHECK(plain.knobs.at("gptq").Count("block") == 128);
  CHECK(plain.knobs.at("gptq").Flag("act_order"));
  CHECK_FALSE(plain.knobs.at("gptq").Flag("mse_clip"));
  CHECK_FALSE(plain.knobs.contains("rtn"));  // it has none
  const CellConfig set = ReadConfigLine(
                             "quantize: {gptq: {damp: 0, block: 65536, act_order: false,"
                             " mse_clip: true}, smoothquant: {alpha: 1}}")
                             .general;
  CHECK(set.knobs.at("gptq").Real("damp") == 0);
  CHECK(set.knobs.at("gptq").Count("block") == 65536);
  CHECK_FALSE(set.knobs.at("gptq").Flag("act_order"));
  CHECK(set.knobs.at("gptq").Flag("mse_clip"));
  CHECK(set.knobs.at("gptq").Flag("static_groups"));
  CHECK(set.knobs.at("smoothquant").Real("alpha") == 1);
}

TEST_CASE("config: knobs that are none, of another kind, or out of range") {
  CheckBadLines({
      {"quantize: {gptq: {dmap: 0.1}}", {"quantize.gptq.dmap: unknown key (did you mean 'damp'?)"}},
      {"quantize: {gptq: {alpha: 0.1}}", {"quantize.gptq.alpha: unknown key"}},
      {"quantize: {gptq: 0.1}", {"quantize.gptq: expected a map, found '0.1'"}},
      {"quantize: {rtn: {}}", {"quantize.rtn: unknown key"}},
      {"quantize: {gptq: {act_order: 1}}", {"gptq.act_order: expected true or false, found '1'"}},
      {"quantize: {awq: {clip: x}}", {"awq.clip: expected true or false, found 'x'"}},
      {"quantize: {gptq: {block: 0}}", {"gptq.block", "from 1 to 65536, found '0'"}},
      {"quantize: {gptq: {block: 65537}}", {"gptq.block", "from 1 to 65536, found '65537'"}},
      {"quantize: {gptq: {block: 1.5}}", {"gptq.block: expected a whole number", "'1.5'"}},
      {"quantize: {gptq: {block: -1}}", {"gptq.block: expected a whole number", "'-1'"}},
      {"quantize: {gptq: {damp: -0.01}}", {"gptq.damp: expected a number from 0 to 1, found"}},
      {"quantize: {gptq: {damp: 1.01}}", {"gptq.damp: expected a number from 0 to 1, found"}},
      {"quantize: {gptq: {damp: nan}}", {"gptq.damp: expected a number, found 'nan'"}},
      {"quantize: {gptq: {damp: inf}}", {"gptq.damp: expected a number, found 'inf'"}},
      {"quantize: {gptq: {damp: true}}", {"gptq.damp: expected a number, found 'true'"}},
      {"quantize: {smoothquant: {alpha: 2}}", {"smoothquant.alpha", "from 0 to 1, found '2'"}},
  });
}

TEST_CASE("config: an override names a rounder") {
  const CellConfig cell = ReadMethod(
      "rtn",
      ", overrides: [{match: a, method: gptq}, {match: b, bits: 8}, {match: c, method: rtn}]");
  REQUIRE(cell.quantize.overrides.size() == 3);
  CHECK(cell.quantize.overrides[0].method == "gptq");
  CHECK(cell.quantize.overrides[1].method.empty());
  const Method method = cell.MakeMethod();
  REQUIRE(method.other_rounders.size() == 2);
  CHECK(method.other_rounders[0]->name() == "gptq");
  CHECK(method.other_rounders[1]->name() == "rtn");
  CheckBadLines({
      {"quantize: {overrides: [{match: a, method: gtpq}]}",
       {"quantize.overrides[0].method: unknown rounder 'gtpq' (did you mean 'gptq'?)"}},
      {"quantize: {overrides: [{match: a, method: awq}]}",  // not a rounder
       {"quantize.overrides[0].method: unknown rounder 'awq'", "rtn"}},
      {"quantize: {overrides: [{match: a, method: awq+gptq}]}", {"unknown rounder 'awq+gptq'"}},
      {"quantize: {overrides: [{match: a, method: rtn, keep: true}]}",
       {"quantize.overrides[0].keep: expected false"}},
  });
}

TEST_CASE("config: what goes with a flag that a method does not set is refused") {
  CHECK_ERROR(ReadConfigLine("quantize: {methods: [rtn, gptq], gptq: {asymmetry: 1}}"),
              "quantize.methods", "gptq.asymmetry does nothing in gptq without gptq.asymmetric",
              "set gptq.asymmetric: true");
  CHECK_ERROR(ReadConfigLine("quantize: {methods: [{method: awq, label: x, awq: {clip: false, "
                             "clip_grid: 10}}]}"),
              "awq.clip_grid does nothing in x without awq.clip");
  // The default; of a method that no cell has; where a cell sets the flag.
  for (const char* methods : {"[gptq], gptq: {asymmetry: 0.25}", "[awq], gptq: {asymmetry: 1}",
                              "[{method: gptq, label: x, gptq: {asymmetric: true}}], gptq: "
                              "{asymmetry: 1}"}) {
    INFO(methods);
    CHECK_NOTHROW(ReadConfigLine(std::string("quantize: {methods: ") + methods + "}"));
  }
}

}  // namespace
}  // namespace quantref
