// What every program does whatever it is for: descriptors that are closed or full, "" for a value,
// numbers out of range, signals.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::Process;
using testing::ProcessOptions;
using testing::ProcessResult;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

const Strings kPrograms = {"run_eval",    "merge_shards", "compare_results",
                           "make_tables", "make_report",  "fetch_wikitext"};

ProcessResult Run(const RunEvalLab& lab, Strings arguments, ProcessOptions options = {}) {
  arguments[0] = testing::Program(arguments[0]);
  return testing::RunProcess(arguments, lab.Options(std::move(options)));
}

TEST_CASE("programs: wrong input is exit code 2 although the message cannot be written") {
  const RunEvalLab lab;
  for (const std::string& program : kPrograms) {
    INFO(program);
    // A command line, and what stands in a file.
    for (const Strings& arguments : {Strings{program, "--nonsense"}, {program, "none", "none"}}) {
      CHECK(Run(lab, arguments).exit_code == 2);
      CHECK(Run(lab, arguments, {.closed = {2}}).exit_code == 2);
      CHECK(Run(lab, arguments, {.standard_error = "/dev/full"}).exit_code == 2);
      const fs::path file = lab / "err";
      CHECK(Run(lab, arguments, {.file_size_limit = 0, .standard_error = file}).exit_code == 2);
    }
  }
}

TEST_CASE("programs: an answer that cannot be written is no success") {
  const RunEvalLab lab;
  for (const std::string& program : kPrograms) {
    for (const char* question : {"--help", "--version"}) {
      INFO(program << " " << question);
      CHECK(Run(lab, {program, question}).exit_code == 0);
      CHECK(Run(lab, {program, question}, {.standard_output = "/dev/full"}).exit_code == 2);
      CHECK(Run(lab, {program, question}, {.closed = {0, 1, 2}}).exit_code == 2);
      const fs::path file = lab / "out";
      CHECK(Run(lab, {program, question}, {.file_size_limit = 0, .standard_output = file})
                .exit_code == 2);
    }
  }
}

TEST_CASE("programs: with standard descriptors closed no message gets into another file") {
  const RunEvalLab usual, closed;
  REQUIRE(usual.Run({usual.config()}).exit_code == 0);
  CHECK(closed.Run({closed.config(), "--quiet"}, {.closed = {0, 1, 2}}).exit_code == 0);
  REQUIRE(closed.RecordFiles().size() == 2);
  CHECK(closed.Record("rtn")["accuracy"] == usual.Record("rtn")["accuracy"]);
  // The results are printed: that nobody can read them is not passed over.
  CHECK(closed.Run({closed.config()}, {.closed = {1}}).exit_code == 2);
  CHECK(closed.RecordFiles().size() == 4);
}

TEST_CASE("programs: a run goes on where nobody reads its messages any more") {
  const RunEvalLab lab;
  REQUIRE(::mkfifo((lab / "err").c_str(), 0600) == 0);
  const int reader = ::open((lab / "err").c_str(), O_RDONLY | O_NONBLOCK);
  Process process(lab.Command({lab.config()}), lab.Options({.standard_error = lab / "err"}));
  char first = 0;
  while (::read(reader, &first, 1) <= 0) ::usleep(1000);
  ::close(reader);
  CHECK(process.Wait().exit_code == 0);
  CHECK(lab.RecordFiles().size() == 2);
}

TEST_CASE("programs: \"\" is refused by name wherever a value belongs") {
  const RunEvalLab lab;
  const std::string config = lab.config();
  const std::vector<std::pair<Strings, std::string>> wrong = {
      {{"run_eval", ""}, "CONFIG"},
      {{"run_eval", config, "--out", ""}, "--out"},
      {{"run_eval", config, "--out="}, "--out"},
      {{"run_eval", config, "--methods", ""}, "--methods"},
      {{"run_eval", config, "--set", ""}, "--set"},
      {{"run_eval", config, "--list", ""}, "--list"},
      {{"run_eval", config, "--windows", ""}, "--windows"},
      {{"run_eval", config, "--candidate", ""}, "--candidate"},
      {{"run_eval", config, "--candidate="}, "--candidate"},
      {{"run_eval", config, "--columns", ""}, "--columns"},
      {{"run_eval", config, "--shard", ""}, "--shard"},
      {{"run_eval", config, "--export", ""}, "--export"},
      {{"run_eval", config, "--export="}, "--export"},
      {{"run_eval", config, "--export-format", ""}, "--export-format"},
      {{"merge_shards", ""}, "CONFIG"},
      {{"merge_shards", "shards", "--out", ""}, "--out"},
      {{"compare_results", "", "b"}, "BASELINE"},
      {{"compare_results", "a", ""}, "CANDIDATE"},
      {{"compare_results", "a", "--write-baseline", ""}, "--write-baseline"},
      {{"compare_results", "a", "--write-baseline="}, "--write-baseline"},
      {{"compare_results", "a", "b", "--gate", ""}, "--gate"},
      {{"compare_results", "a", "b", "--gate="}, "--gate"},
      {{"make_tables", ""}, "SPEC.yaml"},
      {{"make_tables", "spec.yaml", "--out", ""}, "--out"},
      {{"make_tables", "spec.yaml", "--records", ""}, "--records"},
      {{"make_report", ""}, "SPEC.yaml"},
      {{"make_report", "spec.yaml", "--out", ""}, "--out"},
      {{"make_report", "spec.yaml", "--plots", ""}, "--plots"},
      {{"fetch_wikitext", "--to", ""}, "--to"},
      {{"fetch_wikitext", "--url", ""}, "--url"}};
  for (const auto& [arguments, name] : wrong) {
    const ProcessResult result = Run(lab, arguments);
    INFO(arguments[0] << " " << name << ": " << result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, name));
    CHECK_FALSE(Contains(result.err, "No such file"));
  }
}

TEST_CASE("programs: what nobody knows is named, with what was meant or what there is") {
  const RunEvalLab lab;
  const std::vector<std::pair<Strings, std::string>> wrong = {
      {{"run_eval", lab.config(), "--window", "2"},
       "run_eval: --window: unknown option (did you mean '--windows'?)\n"},
      {{"make_tables", "--formt=csv"},  // and the records are missing
       "make_tables: --formt=csv: unknown option (did you mean '--format'?)\n"},
      {{"make_report", "--zzz"}, "make_report: --zzz: unknown option\n"},
      {{"make_report"}, "make_report: SPEC.yaml is required\n"},
      {{"compare_results", "a", "b", "c"},
       "compare_results: CANDIDATE: At Most 1 required but received 2\n"},
      {{"compare_results", "a", "b", "--format", "xml"},
       "--format: expected one of text, markdown, json, junit, found 'xml'\n"},
      {{"run_eval", "--list", "key"}, "run_eval: --list: expected one of configs, keys, schema, "}};
  for (const auto& [arguments, message] : wrong) {
    const ProcessResult result = Run(lab, arguments);
    INFO(arguments[0] << ": " << result.err);
    CHECK(result.exit_code == 2);
    CHECK(result.out.empty());
    CHECK(Contains(result.err, message));
    CHECK(Contains(result.err, "  hint: " + arguments[0] + " --help lists the options\n"));
  }
}

TEST_CASE("programs: scripts refuse \"\" and wrong files by name, too") {
  const testing::TempDir dir;
  const std::vector<std::pair<Strings, std::string>> wrong = {
      {{"fetch_model", "smollm2-135m", "--to", ""}, "--to: expected something, found \"\""},
      {{"fetch_model", "smollm2-135m", "--from="}, "--from: expected something, found \"\""},
      {{"fetch_model", "smollm2-135m", "--list", ""}, "--list: expected something, found \"\""},
      {{"fetch_model", ""}, "no model ''"},
      {{"make_random_checkpoint", "--shape", "tiny", "--out", "out", "--tokenizer", "none"},
       "none: No such file"},
      {{"make_random_checkpoint", "--shape", "tiny", "--out", "out", "--tokenizer",
        (testing::SourceDir() / "LICENSE").string()},
       "expected a SentencePiece model"},
      {{"make_random_checkpoint", "--shape", "tiny", "--out", "out", "--tokenizer", "/dev/null"},
       "expected a whole SentencePiece model"},
      {{"publish", ""}, "found ''"},
      {{"publish", "--nonsense"}, "found '--nonsense'"}};
  for (auto [command, message] : wrong) {
    command[0] = (testing::SourceDir() / "scripts" / command[0]).string();
    const ProcessResult result = testing::RunProcess(
        command,
        {.environment = {{"XDG_CACHE_HOME", (dir / "cache").string()}}, .folder = dir.path()});
    INFO(command[0] << ": " << result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, message));
    CHECK(fs::is_empty(dir.path()));
  }
}

TEST_CASE("programs: numbers are of a stated range") {
  const RunEvalLab lab;
  for (const char* number : {"0", "-1", "1.5", "1e3", "010", "nan", "99999999999999999999", "x"}) {
    for (const char* option : {"--windows", "--threads"}) {
      const ProcessResult result = lab.Run({lab.config(), option, number});
      INFO(result.err);
      CHECK(result.exit_code == 2);
      CHECK(Contains(result.err, option));
      CHECK(Contains(result.err, "expected a whole number from 1 to 10"));
      CHECK(result.err.size() < 200);
    }
  }
  for (const char* number : {"0", "-1", "nan", "inf", "1e-300", "1e300", "1e999", "GB"}) {
    const ProcessResult result = lab.Run({lab.config(), "--memory", number});
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, "--memory: expected a number from 1e-06 to 1000000, found '"));
  }
  CHECK(lab.RecordFiles().empty());
}

// A pipe without an end, at which a program waits.
class Gate {
 public:
  explicit Gate(const fs::path& path) : path_(path) { REQUIRE(::mkfifo(path.c_str(), 0600) == 0); }
  ~Gate() {
    ::close(writer_);
    fs::remove(path_);
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void WaitForReader() {
    for (int i = 0; i < 60'000 && writer_ < 0; ++i) {
      writer_ = ::open(path_.c_str(), O_WRONLY | O_NONBLOCK);
      if (writer_ < 0) ::usleep(1000);
    }
    REQUIRE(writer_ >= 0);
  }

 private:
  fs::path path_;
  int writer_ = -1;
};

TEST_CASE(
    "programs: what waits for a pipe is interrupted, and speaks of nothing that is not there") {
  for (const int signal : {SIGINT, SIGTERM}) {
    const RunEvalLab lab;
    const std::vector<Strings> commands = {
        {"compare_results", "pipe", "pipe"},
        {"make_tables", "pipe"},
        {"run_eval", lab.config(), "--set", "accuracy.dataset=./pipe", "--dry-run"},
        {"run_eval", lab.config(), "--set", "accuracy.dataset=./pipe"}};
    for (Strings command : commands) {
      command[0] = testing::Program(command[0]);
      Gate gate(lab / "pipe");
      Process process(command, lab.Options());
      gate.WaitForReader();
      process.Signal(signal);
      const ProcessResult result = process.Wait();
      INFO(result.err);
      CHECK(result.exit_code == 2);
      CHECK(result.out == "");
      CHECK(Contains(result.err, ": interrupt: stopped by a signal\n"));
      CHECK_FALSE(Contains(result.err, "window"));
      CHECK_FALSE(Contains(result.err, "hint"));
    }
    CHECK(lab.RecordFiles().empty());
  }
}

// What links kernels holds the name of the BLAS that they load.
TEST_CASE("programs: those that read records hold no kernels") {
  const auto holds_kernels = [](const std::string& program) {
    return Contains(ReadFile(testing::Program(program), size_t{1} << 30), "libopenblas");
  };
  CHECK(holds_kernels("run_eval"));
  for (const char* program : {"compare_results", "make_tables", "make_report"}) {
    INFO(program);
    CHECK_FALSE(holds_kernels(program));
  }
}

}  // namespace
}  // namespace quantref
