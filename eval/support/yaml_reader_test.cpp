#include "eval/support/yaml_reader.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "harness/base/error.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::TempDir;
using testing::WriteFile;
using Strings = std::vector<std::string>;

// A reader of that text, which stands in the file "f.yaml" as far as messages go.
YamlReader Reader(const std::string& text) { return {YAML::Load(text), "f.yaml"}; }

// What ReadYaml makes of a file with that text.
YAML::Node Read(const std::string& text) {
  const TempDir dir;
  WriteFile(dir / "c.yaml", text);
  return ReadYaml((dir / "c.yaml").string());
}

TEST_CASE("yaml: setters read their key and leave absent ones alone") {
  YamlReader yaml =
      Reader("yes: true\nno: false\nsize: 18\nbits: 3\ntext: a b\nlist: [x, 'y z']\n");
  bool yes = false, no = true, absent_bool = true;
  size_t size = 0, absent_size = 7;
  int bits = 0;
  std::string text, absent_text = "default";
  Strings list = {"old"}, absent_list = {"default"};
  yaml.Set("yes", yes);
  yaml.Set("no", no);
  yaml.Set("size", size, 1, 18);
  yaml.Set("bits", bits, 3, 8);
  yaml.Set("text", text);
  yaml.Set("list", list);
  yaml.Set("absent", absent_bool);
  yaml.Set("absent", absent_size, 0, 1);
  yaml.Set("absent", absent_text);
  yaml.Set("absent", absent_list);
  CHECK(yes);
  CHECK_FALSE(no);
  CHECK(size == 18);
  CHECK(bits == 3);
  CHECK(text == "a b");
  CHECK(list == Strings{"x", "y z"});
  CHECK(absent_bool);
  CHECK(absent_size == 7);
  CHECK(absent_text == "default");
  CHECK(absent_list == Strings{"default"});
  CHECK(yaml.Choice("text", {"a b", "c"}, "c") == "a b");
  CHECK(yaml.Choice("absent", {"a b", "c"}, "c") == "c");
  CHECK_NOTHROW(yaml.RefuseUnknownKeys());
}

TEST_CASE("yaml: whole numbers are exact and within their limits") {
  const auto parse = [](const std::string& value) {
    size_t number = 0;
    Reader("\nn: " + value).Set("n", number, 2, 20);
    return number;
  };
  CHECK(parse("2") == 2);
  CHECK(parse("20") == 20);
  for (const char* bad : {"1", "21", "-3", "+3", "3.0", "3e0", "0x3", "three", "3 4", "''", "'3 '",
                          "true", "99999999999999999999"}) {
    INFO(bad);
    CHECK_ERROR(parse(bad), "f.yaml:2: n: ", "expected a whole number from 2 to 20, found '");
  }
  CHECK_ERROR(parse("[3]"), "f.yaml:2: n: ", "found a list");
  CHECK_ERROR(parse("{a: 3}"), "f.yaml:2: n: ", "found a map");
  CHECK_ERROR(parse("~"), "f.yaml:2: n: ", "found nothing");
  CHECK_ERROR(parse(""), "f.yaml:2: n: ", "found nothing");
}

TEST_CASE("yaml: numbers are finite ones that a double can hold") {
  const auto parse = [](const std::string& value) {
    double number = 7;
    Reader("x: " + value).Set("x", number);
    return number;
  };
  CHECK(parse("1e-3") == 0.001);
  CHECK_FALSE(std::signbit(parse("-0")));
  CHECK_FALSE(std::signbit(parse("-0.0")));
  for (const char* bad : {"nan", "-nan", "inf", "-inf", "1,5", "0x1p3", "x", "''"}) {
    INFO(bad);
    CHECK_ERROR(parse(bad), "f.yaml:1: x: expected a number, found '");
  }
  for (const char* bad : {"1e400", "-1e400", "1e-400"}) {
    INFO(bad);
    CHECK_ERROR(parse(bad), "x: expected a number within a double's range, found '");
  }
}

TEST_CASE("yaml: an empty string is no value") {
  std::string text = "default";
  CHECK_ERROR(Reader("a: ''").Set("a", text), "f.yaml:1: a: expected a string that is not empty");
  CHECK(text == "default");
  Strings values;
  CHECK_ERROR(Reader("a: [b, '']").Set("a", values), "f.yaml:1: a: expected a list of strings");
}

TEST_CASE("yaml: flags in every spelling of YAML 1.1, and no other") {
  for (const char* text : {"true", "True", "TRUE", "yes", "Yes", "on", "On"}) {
    INFO(text);
    bool value = false;
    Reader(std::string("flag: ") + text).Set("flag", value);
    CHECK(value);
  }
  for (const char* text : {"false", "False", "FALSE", "no", "No", "off", "Off"}) {
    INFO(text);
    bool value = true;
    Reader(std::string("flag: ") + text).Set("flag", value);
    CHECK_FALSE(value);
  }
  bool value = false;
  for (const char* bad : {"1", "t", "yEs", "~", "[true]", "{}"}) {
    INFO(bad);
    CHECK_ERROR(Reader(std::string("flag: ") + bad).Set("flag", value),
                "f.yaml:1: flag: ", "expected true or false, found");
  }
}

TEST_CASE("yaml: lists of strings hold strings only, and one stands for a list of one") {
  Strings values;
  Reader("a: b").Set("a", values);
  CHECK(values == Strings{"b"});
  CHECK_ERROR(Reader("a: {b: c}").Set("a", values), "f.yaml:1: a: expected a list", "is a map");
  CHECK_ERROR(Reader("a:").Set("a", values), "expected a list", "found nothing");
  CHECK_ERROR(Reader("a: [b, [c]]").Set("a", values), "expected a list of strings", "is a list");
  Reader("a: []").Set("a", values);
  CHECK(values.empty());
  std::string text;
  CHECK_ERROR(Reader("a: [b]").Set("a", text), "expected a string, found a list");
  CHECK_ERROR(Reader("a: ~").Set("a", text), "expected a string, found nothing");
}

TEST_CASE("yaml: a choice is one of the choices") {
  CHECK_ERROR(Reader("\n\na: colum").Choice("a", {"row", "column"}, "row"),
              "f.yaml:3: a: unknown value 'colum' (did you mean 'column'?)");
  CHECK_ERROR(Reader("a: 7").Choice("a", {"row", "column"}, "row"), "'7' (valid: row, column)");
  CHECK_ERROR(Reader("a: [row]").Choice("a", {"row", "column"}, "row"),
              "expected one of row, column, found a list");
  CHECK(Reader("a: None").Choice("a", {"none", "true"}, "") == "none");
  CHECK(Reader("a: yes").Choice("a", {"none", "true"}, "") == "true");
  CHECK_ERROR(Reader("a: no").Choice("a", {"none", "true"}, ""), "unknown value 'no'");
}

TEST_CASE("yaml: inner maps and lists of maps know their full keys") {
  YamlReader yaml = Reader("outer:\n  inner:\n    bits: x\nitems:\n- a: 1\n- b: 2\nempty:\n");
  int bits = 0;
  CHECK(yaml.IsMap("outer"));
  CHECK_FALSE(yaml.IsMap("items"));
  CHECK_FALSE(yaml.IsMap("absent"));
  CHECK_ERROR(yaml.Map("outer").Map("inner").Set("bits", bits, 2, 8),
              "f.yaml:3: outer.inner.bits: expected a whole number");
  CHECK_NOTHROW(yaml.Map("empty").RefuseUnknownKeys());
  CHECK_NOTHROW(yaml.Map("absent").RefuseUnknownKeys());
  CHECK(yaml.Maps("absent").empty());
  std::vector<YamlReader> items = yaml.Maps("items");
  REQUIRE(items.size() == 2);
  CHECK(items[0].Has("a"));
  CHECK_NOTHROW(items[0].RefuseUnknownKeys());
  CHECK_FALSE(items[1].Has("bit"));
  CHECK_ERROR(items[1].RefuseUnknownKeys(), "f.yaml:6: items[1].b: unknown key");
  CHECK(yaml.Maps("outer").size() == 1);
  CHECK_ERROR(yaml.Map("items"), "f.yaml:5: items: expected a map, found a list");
  CHECK_ERROR(Reader("items: [x]").Maps("items"), "items[0]: expected a map, found 'x'");
}

TEST_CASE("yaml: a key that nobody asked about is an error with the nearest one") {
  YamlReader yaml = Reader("bits: 4\nsymetric: true\n");
  bool symmetric = false;
  yaml.Set("symmetric", symmetric);
  CHECK(yaml.Has("bits"));
  CHECK_ERROR(yaml.RefuseUnknownKeys(),
              "f.yaml:2: symetric: unknown key (did you mean 'symmetric'?)");
  CHECK_ERROR(Reader("zzz: 1").RefuseUnknownKeys(), "f.yaml:1: zzz: unknown key");
}

TEST_CASE("yaml: Fail and Where name the place") {
  YamlReader yaml = Reader("a: 1\nb:\n  c: [2]\n");
  CHECK(yaml.Where("a") == "f.yaml:1: a");
  CHECK(yaml.Map("b").Where("c") == "f.yaml:3: b.c");
  CHECK(yaml.Map("b").Where("d") == "f.yaml: b.d");
  CHECK_ERROR(yaml.Fail("a", "a miracle", "pray"), "f.yaml:1: a: expected a miracle, found '1'",
              "hint: pray");
  CHECK_ERROR(yaml.Fail("z", "a miracle"), "f.yaml: z: expected a miracle, found nothing");
}

TEST_CASE("yaml: files that are no single map are errors") {
  CHECK(Read("a: 1\n")["a"].Scalar() == "1");
  CHECK(Read("{a: 1}")["a"].Scalar() == "1");
  CHECK_ERROR(Read(""), "c.yaml", "expected a map of keys, found nothing");
  CHECK_ERROR(Read("# nothing but this\n"), "expected a map of keys, found nothing");
  CHECK_ERROR(Read("- a\n- b\n"), "expected a map of keys, found a list");
  CHECK_ERROR(Read("just words\n"), "expected a map of keys, found 'just words'");
  CHECK_ERROR(Read("a: 1\n---\na: 2\n"), "c.yaml", "expected one document, found more");
  // From this yaml-cpp's LoadAll reads documents until the memory is full.
  CHECK_ERROR(Read("a: 1\n--- \"\",\"\"\n"), "c.yaml");
  CHECK_ERROR(Read("\"\",\"\""), "c.yaml", "expected one document, found more");
}

TEST_CASE("yaml: bad syntax is an error with line and column") {
  CHECK_ERROR(Read("a: 1\nb: [2\n"), "c.yaml:3: not valid YAML: ", "(column 1)");
  CHECK_ERROR(Read("a: 1\n\tb: 2\n"), "c.yaml:2: not valid YAML: ", "(column ");
  CHECK_ERROR(Read("a: {b: 1\n"), "c.yaml:2: not valid YAML");
  CHECK_ERROR(Read("a: *nowhere\n"), "c.yaml:1: not valid YAML");
  CHECK_ERROR(Read("a: " + std::string(5000, '[')), "c.yaml:", "not valid YAML");
}

TEST_CASE("yaml: text that is not UTF-8 is an error, in keys, values and assignments") {
  for (const char* bad : {"a: 1\nb: x\xff", "a: 1\n\xff: x", "a: 1\nb: [{c: \"\xc0\"}]"}) {
    INFO(bad);
    CHECK_ERROR(Read(bad), "c.yaml:2", "expected UTF-8, found an invalid byte");
  }
  YAML::Node root = YAML::Load("a: 1\n");
  CHECK_ERROR(SetYaml(root, "a=\xff"), "--set a=", "expected UTF-8");
}

TEST_CASE("yaml: a key that stands twice is an error at any depth") {
  CHECK_ERROR(Read("a: 1\nb: 2\na: 3\n"), "c.yaml:3: the key 'a' stands twice");
  CHECK_ERROR(Read("x:\n  y:\n  - b: 1\n    b: 1\n"), "c.yaml:4: the key 'b' stands twice");
  CHECK_ERROR(Read("a: 1\n? [b]\n: 2\n"), "expected a plain key");
  CHECK_NOTHROW(Read("x: {b: 1}\ny: {b: 1}\n"));
}

TEST_CASE("yaml: aliases may repeat a value but not contain themselves or explode") {
  CHECK(Read("x: &v {b: 1}\ny: *v\n")["y"]["b"].Scalar() == "1");
  CHECK_ERROR(Read("a: &a {b: *a}\n"), "c.yaml:1: nested too deeply");
  CHECK_ERROR(Read("a: &a [*a, *a]\n"), "nested too deeply");
  std::string bomb = "l0: &l0 [x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string inner = "*l" + std::to_string(i - 1), name = "l" + std::to_string(i);
    bomb += name + ": &" + name + " [" + inner;
    for (int j = 0; j < 7; ++j) bomb += ", " + inner;
    bomb += "]\n";
  }
  CHECK_ERROR(Read(bomb), "larger than any config");
}

TEST_CASE("yaml: files that cannot be read are errors") {
  const TempDir dir;
  CHECK_ERROR(ReadYaml((dir / "none.yaml").string()), "none.yaml", "No such file");
  CHECK_ERROR(ReadYaml(dir.path().string()), dir.path().string(), "found a folder");
  WriteFile(dir / "big.yaml", "a: " + std::string(2 << 20, 'x'));
  CHECK_ERROR(ReadYaml((dir / "big.yaml").string()), "big.yaml", "too large");
}

TEST_CASE("yaml: an assignment makes, replaces and nests") {
  YAML::Node root = YAML::Load("a: 1\nb: {c: 2, d: 3}\n");
  SetYaml(root, "a=5");
  SetYaml(root, "b.c=6");
  SetYaml(root, "new.deep.key=x=y");
  SetYaml(root, "list=[p, q]");
  SetYaml(root, "map={k: {l: v}}");
  SetYaml(root, "nothing=");
  CHECK(root["a"].Scalar() == "5");
  CHECK(root["b"]["c"].Scalar() == "6");
  CHECK(root["b"]["d"].Scalar() == "3");
  CHECK(root["new"]["deep"]["key"].Scalar() == "x=y");
  CHECK(root["list"].as<Strings>() == Strings{"p", "q"});
  CHECK(root["map"]["k"]["l"].Scalar() == "v");
  CHECK(root["nothing"].IsNull());
  SetYaml(root, "nothing.more=1");
  CHECK(root["nothing"]["more"].Scalar() == "1");
}

TEST_CASE("yaml: assignments of no good form are errors") {
  YAML::Node root = YAML::Load("a: 1\nl: [1]\n");
  for (const char* bad : {"", "a", "=1"}) {
    INFO(bad);
    CHECK_ERROR(SetYaml(root, bad), "--set", std::string("expected key=value, found '") + bad + "'",
                "for example");
  }
  CHECK_ERROR(SetYaml(root, "a=[1"), "--set a=[1", "not valid YAML");
  CHECK_ERROR(SetYaml(root, "a.b=1"), "--set a.b=1", "'a.b' is '1' here, which has no keys");
  CHECK_ERROR(SetYaml(root, "l.b=1"), "is a list here");
  CHECK_ERROR(SetYaml(root, "m={k: 1, k: 2}"), "--set m=", "the key 'k' stands twice");
  CHECK_ERROR(SetYaml(root, "m=&m [*m]"), "--set m=", "nested too deeply");
}

TEST_CASE("yaml: errors about an assigned value name --set, not a line of the file") {
  YAML::Node root = YAML::Load("a: 1\nb: {c: 2}\n");
  SetYaml(root, "b.c=[x, {y: z}]");
  YamlReader yaml(root, "f.yaml");
  CHECK(yaml.Where("a") == "f.yaml:1: a");
  CHECK(yaml.Map("b").Where("c") == "--set b.c");
  SetYaml(root, "b.d=1");
  CHECK(yaml.Map("b").Has("c"));
  YamlReader inner = yaml.Map("b");
  CHECK(inner.Has("c"));
  CHECK_ERROR(inner.RefuseUnknownKeys(), "--set b.d: unknown key");
}

}  // namespace
}  // namespace quantref
