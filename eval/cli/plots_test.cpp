// scripts/plots from records to files. It needs Debian's matplotlib, which the tests do not: where
// there is none they say so and pass.

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "eval/testing/plotter.h"
#include "eval/testing/process.h"
#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::AddSpeed;
using testing::FileText;
using testing::kPython;
using testing::MissingPart;
using testing::PlotForked;
using testing::PlotRun;
using testing::ProcessOptions;
using testing::ProcessResult;
using testing::TableLab;
using testing::TableSample;
using testing::WriteFile;
using Strings = std::vector<std::string>;

bool HasMatplotlib() {
  constexpr const char* kLook =
      "import importlib.util, sys; sys.exit(importlib.util.find_spec('matplotlib') is None)";
  static const bool has =
      fs::exists(kPython) && testing::RunProcess({kPython, "-c", kLook}).exit_code == 0;
  if (!has) WARN("skipped: no python3-matplotlib on this machine");
  return has;
}

ProcessResult Plot(const TableLab& lab, Strings arguments, ProcessOptions options = {}) {
  arguments.insert(arguments.begin(), (testing::SourceDir() / "scripts/plots").string());
  options.folder = lab.path();
  return testing::RunProcess(arguments, options);
}

std::vector<ProcessResult> PlotEach(const std::vector<PlotRun>& runs) {
  std::vector<ProcessResult> results;
  std::transform(runs.begin(), runs.end(), std::back_inserter(results), PlotForked);
  return results;
}

// Everything that plots show.
Json Sample(const std::string& method, double nats, const std::string& config = "tiny") {
  Json record = TableSample(method, nats, nats / 10, config);
  AddSpeed(record, 100 + 1000 * nats);
  if (method == "fp16") return record;
  record["throughput"]["decode_tokens_s"][0]["vs_fp16"] = 1 + 10 * nats;
  Json& accuracy = record["accuracy"];
  double kl = 0.001;
  for (const char* name : {"kl_p50", "kl_p90", "kl_p99", "kl_p999", "kl_max"})
    accuracy[name] = kl *= 4;
  for (const char* name : {"layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"})
    record["layers"].push_back({{"name", name}, {"output_error", kl /= 2}});
  const Json part = {{"name", "weights"}, {"delta_nll", nats}, {"delta_nll_ci95", {0, 2 * nats}}};
  const Json item = {{"name", "layers.0"},
                     {"of", "block"},
                     {"alone_delta_nll", nats},
                     {"won_delta_nll", -nats},
                     {"won_kl", nats}};
  record["ledger"] = {{"parts", Json::array({part})},
                      {"blocks",
                       {{"dataset", "wikitext-2"},
                        {"split", "validation"},
                        {"window_index", {0, 3}},
                        {"items", Json::array({item})}}}};
  return record;
}

void FillPlots(TableLab& lab) {
  lab.Add(Sample("fp16", 0));
  Json trained = Sample("gptq", 0.02);
  trained["finetune"] = {{"dataset", "wiki.txt"},
                         {"batch", 8},
                         {"length", 512},
                         {"loss", "kl"},
                         {"losses", {0.9, 0.5, 0.3}}};
  lab.Add(trained);
  lab.Add(Sample("rtn", 0.06));
  lab.Add(Sample("rtn", 0.06));  // the next night
}

// One plot of each lab.
Strings Svgs(const std::vector<std::pair<const TableLab*, std::string>>& plots) {
  std::vector<PlotRun> runs;
  for (const auto& [lab, name] : plots)
    runs.push_back({lab->path(), {"records", "--only", name, "--formats", "svg"}});
  const std::vector<ProcessResult> results = PlotEach(runs);
  Strings texts;
  for (size_t i = 0; i < plots.size(); ++i) {
    const auto& [lab, name] = plots[i];
    INFO(results[i].err);
    REQUIRE(results[i].exit_code == 0);
    REQUIRE(results[i].out == "plots/" + name + ".svg\n");
    texts.push_back(FileText(*lab / ("plots/" + name + ".svg")));
  }
  return texts;
}

TEST_CASE("plots: every plot in every format, twice the same bytes") {
  if (!HasMatplotlib()) return;
  TableLab lab;
  FillPlots(lab);
  const ProcessResult first = Plot(lab, {"records", "--out", "a"});
  INFO(first.err);
  REQUIRE(first.exit_code == 0);
  CHECK(first.err.empty());
  REQUIRE(PlotForked({lab.path(), {"records", "--out", "b"}}).exit_code == 0);
  const std::pair<const char*, std::string> kinds[] = {
      {".pdf", "%PDF-"}, {".svg", "<?xml"}, {".png", "\x89PNG\r\n"}};
  for (const char* name : {"bits", "speed", "kl", "layers", "ledger", "training", "history"}) {
    for (const auto& [ending, magic] : kinds) {
      const std::string file = std::string(name) + ending;
      INFO(file);
      CHECK(MissingPart(first.out, {"a/" + file + "\n"}) == "");
      const std::string data = FileText(lab / "a" / file);
      CHECK(data.starts_with(magic));
      CHECK((data == FileText(lab / "b" / file)));
    }
  }
  CHECK(std::distance(fs::directory_iterator(lab / "a"), fs::directory_iterator()) == 21);
  CHECK(MissingPart(
            FileText(lab / "a/bits.svg"),
            {">effective bits per weight<", ">change of PPL against fp16, %<", ">gptq<", ">rtn<",
             ">int4 g128 asym<", ">wikilm<", ">gptq-2048 on wikitext-2 test · 16 windows · fp16 ",
             " PPL<", "22222222", "avx2"}) == "");
  CHECK(MissingPart(FileText(lab / "a/speed.svg"),
                    {">wikilm, 2 threads, avx2<", ">decode of 8 tokens, times fp16's speed<",
                     ">Pareto front<", ">4.16<", ">1.2×<"}) == "");
  CHECK(MissingPart(FileText(lab / "a/kl.svg"),
                    {">gptq  int4 g128 asym<", ">KL, nats: means of windows<"}) == "");
  CHECK(MissingPart(FileText(lab / "a/layers.svg"),
                    {">down_proj<", ">largest: 0.51 in 0.self_attn.q_proj<"}) == "");
  CHECK(MissingPart(FileText(lab / "a/ledger.svg"),
                    {">weight rounding<", ">layers.0<", ">change of NLL, nats<",
                     "blocks and kinds: 2 windows of wikitext-2 validation<"}) == "");
  CHECK(MissingPart(FileText(lab / "a/training.svg"),
                    {">gptq  int4 g128 asym<", ">KL from the reference, nats a token<",
                     ">trained on wiki.txt, 8 x 512 tokens a step<"}) == "");
  CHECK(MissingPart(FileText(lab / "a/history.svg"), {">tiny<", ">aaaaaaa<", ">rtn<", ">gptq<"}) ==
        ">gptq<");
}

TEST_CASE("plots: the Pareto front") {
  if (!HasMatplotlib()) return;
  const std::string program =
      "import sys; sys.path.insert(0, 'scripts')\n"
      "sys.dont_write_bytecode = True\n"
      "from plotting.perplexity import pareto_front\n"
      "print(pareto_front([]))\n"
      "print(pareto_front([(4, 16), (16, 15), (8, 15.5), (8, 15.6), (6, 16), (3, 20)]))\n"
      "print(pareto_front([(4, 16), (4, 16), (4, 17)]))\n"  // equal cells lead both
      "print(pareto_front([(4, 16), (8, 16)]))";
  const ProcessResult result =
      testing::RunProcess({kPython, "-c", program}, {.folder = testing::SourceDir()});
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(result.out == "[]\n[5, 0, 2, 1]\n[0, 1]\n[0]\n");
}

TEST_CASE("plots: cells of equal bits stand at these bits, and lines join those of a method") {
  if (!HasMatplotlib()) return;
  TableLab one, two;  // points of a method
  for (TableLab* lab : {&one, &two}) {
    for (const auto& [method, nats] : {std::pair{"rtn", 0.06}, {"gptq", 0.02}, {"awq", 0.03}})
      lab->Add(Sample(method, nats));
  }
  Json other = Sample("rtn", 0.3, "other");
  other["effective_bits"] = 3.15;
  other["scheme"]["name"] = "int3 g128 asym";
  two.Add(other);
  const Strings svgs = Svgs({{&one, "bits"}, {&two, "bits"}});
  const std::string line = "stroke: #0072b2; stroke-width: 1.1";
  CHECK_FALSE(testing::Contains(svgs[0], line));
  const std::string& svg = svgs[1];
  CHECK(testing::Contains(svg, line));
  std::map<std::string, std::set<std::string>> colours;  // of the markers at a place
  const std::regex marker(
      "<use xlink:href=\"#m[0-9a-f]+\" x=\"([0-9.]+)\" y=\"[0-9.]+\" style=\"fill: (#[0-9a-f]+); "
      "stroke: #000000");
  for (std::sregex_iterator it(svg.begin(), svg.end(), marker), end; it != end; ++it)
    colours[(*it)[1]].insert((*it)[2]);
  CHECK(std::any_of(colours.begin(), colours.end(),
                    [](const auto& place) { return place.second.size() == 3; }));
}

TEST_CASE("plots: what may not be compared has a panel of its own") {
  if (!HasMatplotlib()) return;
  TableLab same, lab;
  FillPlots(same);
  FillPlots(lab);
  const std::pair<const char*, Json> changes[] = {{"/protocol/name", "llamacpp-512"},
                                                  {"/protocol/token_sha256", std::string(64, '9')},
                                                  {"/model/sha256", std::string(64, '9')},
                                                  {"/protocol/cut_from_windows", 20}};
  for (const auto& [path, value] : changes) {
    Json record = Sample("rtn", 0.04, "other");
    record[Json::json_pointer(path)] = value;
    lab.Add(record);
  }
  const Strings svgs = Svgs({{&same, "bits"}, {&lab, "bits"}});
  CHECK(svgs[0].find("(a)") == std::string::npos);
  CHECK(MissingPart(svgs[1], {">(a) ", ">(e) ", "16 of 20 windows"}) == "");
  CHECK(svgs[1].find(">(f) ") == std::string::npos);
}

TEST_CASE("plots: doubts are shown, names are text") {
  if (!HasMatplotlib()) return;
  TableLab none, doubts, names;
  for (TableLab* lab : {&none, &doubts, &names}) FillPlots(*lab);
  Json record = Sample("awq", 0.01);
  record["throughput"].update({{"busy", true}, {"decoded_each_call", {"lm_head"}}});
  record["calibration"]["contaminated"] = true;
  record["protocol"].update({{"too_much_unknown", true}, {"unknown_share", 0.5}});
  record["protocol"]["unknown_bytes_share"] = 0.25;
  record["candidate"] = {
      {"name", "file"},
      {"notes", {{{"what", "probably MISREAD"}, {"count", 1}, {"doubtful", true}}}}};
  doubts.Add(record);
  record["method"] = "a<b>&$x$";
  names.Add(record);
  const Strings svgs = Svgs({{&none, "speed"}, {&doubts, "speed"}, {&names, "kl"}});
  CHECK(MissingPart(svgs[0], {"hollow: busy machine"}) != "");
  CHECK(MissingPart(svgs[1], {">hollow: busy machine<", ">CDUX<", "CONTAMINATED", "DECODES codes",
                              "X: NUMBERS IN DOUBT", "UNKNOWN TOKENS"}) == "");
  CHECK(MissingPart(svgs[2], {">a&lt;b&gt;&amp;$x$  int4 g128 asym (CUX)<", "X: NUMBERS"}) == "");
  CHECK(MissingPart(svgs[2], {"DECODES codes"}) != "");  // of speeds
}

TEST_CASE("plots: baselines are read, what is hidden is not, an empty plot is not made") {
  if (!HasMatplotlib()) return;
  TableLab lab;
  const Json record = Sample("rtn", 0.05);
  WriteFile(lab / "base.json", Json::array({record}).dump());
  WriteFile(lab / "folder/.hidden/x.json", "{");
  WriteFile(lab / "folder/.x.json", "{");
  WriteFile(lab / "folder/sub/x.json", Json::array({record}).dump());
  WriteFile(lab / "fp16.json", Sample("fp16", 0).dump());
  const std::vector<ProcessResult> results = PlotEach(
      {{lab.path(), {"base.json", "folder", "--formats", "svg", "--only", "speed,history"}},
       {lab.path(), {"fp16.json"}}});
  const ProcessResult &result = results[0], &none = results[1];
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(result.out == "plots/speed.svg\n");  // the one record, twice
  CHECK(MissingPart(result.err, {"plots: history: not made: "}) == "");
  CHECK(none.exit_code == 2);
  CHECK(MissingPart(none.err, {"plots: bits: not made: no quantized cell", "plots: speed: not made",
                               "plots: kl: not made: ", "plots: layers: not made: ",
                               "plots: ledger: not made: no record has a ledger",
                               "plots: training: not made: no record has a training curve",
                               "plots: history: not made: "}) == "");
}

TEST_CASE("plots: wrong records") {
  if (!HasMatplotlib()) return;
  const TableLab lab;
  const std::pair<std::function<void(Json&)>, std::string> wrong[] = {
      {[](Json& r) { r["schema"] = 2; }, "x.json: schema: expected 1, found 2"},
      {[](Json& r) { r.erase("method"); }, "x.json: method: expected text, found nothing"},
      {[](Json& r) { r["effective_bits"] = true; }, "effective_bits: expected a number"},
      {[](Json& r) { r["created"] = "today"; }, "created: expected a time like"},
      {[](Json& r) { r["accuracy"]["ppl"] = 2; }, "accuracy.ppl: expected what the record's win"},
      {[](Json& r) {
         r["accuracy"]["ppl_ci95"] = {3, 2};
       },
       "ppl_ci95: expected the two ends"},
      {[](Json& r) { r["accuracy"]["kl_p50"] = 1e3; }, "kl_p50: expected quantiles that rise"},
      {[](Json& r) { r["accuracy"]["window_nll"].erase(0); }, "window_nll: expected a list of 16"},
      {[](Json& r) { r["layers"][0]["output_error"] = -1; }, "layers[0].output_error: expected"},
      {[](Json& r) { r["ledger"]["blocks"]["items"][0]["of"] = "row"; },
       "ledger.blocks.items[0].of: expected block, kind or end"},
      {[](Json& r) { r["throughput"]["decode_tokens_s"][0]["samples"] = {0}; },
       "decode_tokens_s[0].samples: expected a number"},
      {[](Json& r) { r = 1; }, "x.json: expected a record, found 1"}};
  std::vector<PlotRun> runs;
  Strings messages;
  const auto add = [&](const std::string& text, const std::string& message) {
    const fs::path folder = lab / std::to_string(runs.size());
    WriteFile(folder / "x.json", text);
    WriteFile(folder / "plots/bits.svg", "as it was");
    runs.push_back({folder, {"x.json", "--formats", "svg"}});
    messages.push_back(message);
  };
  for (const auto& [change, message] : wrong) {
    Json record = Sample("rtn", 0.05);
    change(record);
    add(record.dump(), message);
  }
  const std::pair<std::string, std::string> texts[] = {
      {"{", "x.json: expected JSON: "},
      {R"({"schema": NaN})", "NaN is no number"},
      {R"({"schema": 1, "schema": 1})", "found \"schema\" twice"},
      {"[]", "x.json: expected records, found an empty list"},
      {std::string(100000, '['), "x.json: "},
      {"\xff", "x.json: expected JSON: "}};
  for (const auto& [text, message] : texts) add(text, message);
  const std::vector<ProcessResult> results = PlotEach(runs);
  for (size_t i = 0; i < runs.size(); ++i) {
    INFO(results[i].err);
    CHECK(results[i].exit_code == 2);
    CHECK(MissingPart(results[i].err, {messages[i]}) == "");
    const bool read = i < std::size(wrong);  // what the record holds is wrong, not its JSON
    CHECK((!read || testing::Contains(results[i].err, "results/README.md")));
    CHECK(FileText(runs[i].folder / "plots/bits.svg") == "as it was");
  }
}

TEST_CASE("plots: wrong arguments, a full disk, no matplotlib") {
  if (!HasMatplotlib()) return;
  TableLab lab;
  FillPlots(lab);
  fs::create_directories(lab / "empty");
  WriteFile(lab / "file", "");
  const std::pair<Strings, std::string> wrong[] = {
      {{}, "RECORDS"},
      {{"nowhere"}, "nowhere: expected a file of records"},
      {{"empty"}, "empty: expected records (*.json), found none"},
      {{"records", "--only", "bit"},
       "expected some of bits,speed,kl,layers,ledger,training,history, found 'bit'"},
      {{"records", "--formats", "jpg"}, "expected some of pdf,svg,png, found 'jpg'"},
      {{"records", "--only", "bits", "--out", "file"}, "cannot be written"}};
  for (const auto& [arguments, message] : wrong) {
    const ProcessResult result = Plot(lab, arguments);
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(MissingPart(result.err, {message}) == "");
  }

  WriteFile(lab / "plots/bits.svg", "as it was");
  const Strings bits = {"records", "--only", "bits", "--formats", "svg"};
  const ProcessResult full = Plot(lab, bits, {.file_size_limit = 1000});
  CHECK(full.exit_code == 2);
  CHECK(MissingPart(full.err, {"plots/bits.svg: cannot be written: "}) == "");
  CHECK(FileText(lab / "plots/bits.svg") == "as it was");
  CHECK(std::distance(fs::directory_iterator(lab / "plots"), fs::directory_iterator()) == 1);

  WriteFile(lab / "without/matplotlib.py", "raise ImportError");
  ProcessOptions without;
  without.environment["PYTHONPATH"] = (lab / "without").string();
  const ProcessResult none = Plot(lab, bits, without);
  CHECK(none.exit_code == 2);
  CHECK(MissingPart(none.err, {"sudo apt-get install python3-matplotlib"}) == "");
}

}  // namespace
}  // namespace quantref
