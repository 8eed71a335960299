#include "eval/testing/run_eval_lab.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <system_error>
#include <thread>
#include <utility>

#include "eval/record/reference.h"
#include "eval/support/files.h"
#include "harness/io/file.h"
#include "harness/testing/tiny_model.h"

namespace quantref::testing {

namespace fs = std::filesystem;

namespace {

// Of every lab's files those that are the same in all, made once.
const TempDir& SharedFiles() {
  static const TempDir dir;
  static const bool made = [] {
    WriteTinyModel(dir / "model", {.vocab = kFewPieces, .context = 64});
    WriteFewPieces(dir / "model");
    const std::string sample =
        ReadFile(SourceDir() / "eval/sample/sample.test.raw", size_t{1} << 20);
    WriteFile(dir / "text.txt", sample.substr(0, sample.find('\n', 2000) + 1));
    return true;
  }();
  static_cast<void>(made);
  return dir;
}

}  // namespace

RunEvalLab::RunEvalLab() {
  fs::copy(SharedFiles().path(), dir_.path(), fs::copy_options::recursive);
  WriteFile(config(), ConfigText("tiny"));
}

std::string RunEvalLab::ConfigText(const std::string& name) const {
  return "name: " + name +
         "\n"
         "model: ./model\n"
         "quantize: {methods: [rtn], weights: {bits: 4, group: 16}}\n"
         "accuracy: {dataset: ./text.txt}\n"
         "throughput: none\n";
}

std::vector<std::string> Together(std::vector<std::string> arguments,
                                  const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<std::string> SmokeArguments(size_t windows, const std::vector<std::string>& more) {
  return Together({(SourceDir() / "configs/smoke.yaml").string(), "--windows",
                   std::to_string(windows), "--threads", "1", "--set", "throughput=none"},
                  more);
}

std::vector<std::string> RunEvalLab::Command(const std::vector<std::string>& arguments) const {
  std::vector<std::string> command = {RunEvalProgram()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

ProcessOptions RunEvalLab::Options(ProcessOptions options) const {
  options.folder = dir_.path();
  options.environment.insert({"HOME", (dir_ / "home").string()});
  options.environment.insert({"XDG_CACHE_HOME", (dir_ / "cache").string()});
  options.environment.insert({"QUANTREF_WIKITEXT_URL", "http://127.0.0.1:1/none"});
  return options;
}

ProcessResult RunEvalLab::Run(const std::vector<std::string>& arguments,
                              ProcessOptions options) const {
  return RunProcess(Command(arguments), Options(std::move(options)));
}

std::vector<std::string> RunEvalLab::RecordFiles() const {
  std::vector<std::string> names;
  if (!fs::exists(records())) return names;
  for (const fs::directory_entry& entry : fs::directory_iterator(records()))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

bool RunEvalLab::WaitForWindows() const { return testing::WaitForWindows(records()); }

RecordJson RunEvalLab::Record(const std::string& method) const {
  std::vector<RecordJson> found;
  for (const std::string& name : RecordFiles()) {
    // A journal, what a killed run left, a shard's folder.
    if (!IsRecordName(name)) continue;
    RecordJson record = RecordJson::parse(ReadFile(records() / name, size_t{1} << 24));
    const std::string found_method = record["method"];
    if (found_method == method || (MeansReference(method) && IsReferenceName(found_method)))
      found.push_back(std::move(record));
  }
  INFO("records of method " << method);
  REQUIRE(found.size() == 1);
  return found[0];
}

bool WaitForWindows(const fs::path& folder) {
  constexpr uintmax_t kSomeWindows = 3000;  // bytes
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::chrono::steady_clock::now() < end) {
    std::error_code gone;
    for (fs::directory_iterator entry(folder, gone); !gone && entry != fs::directory_iterator();
         entry.increment(gone)) {
      std::error_code moved;
      const uintmax_t bytes = entry->file_size(moved);
      if (entry->path().filename().string().starts_with(".journal-") && !moved &&
          bytes > kSomeWindows)
        return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

void CheckDone(const ProcessResult& result) {
  INFO("stdout: " << result.out);
  INFO("stderr: " << result.err);
  CHECK(result.exit_code == 0);
  CHECK(result.signal == 0);
}

std::string NoteOf(const RecordJson& record, const std::string& part) {
  for (const RecordJson& note : record["candidate"]["notes"]) {
    if (Contains(note["what"].get<std::string>(), part)) return note.dump();
  }
  return "";
}

std::string RunEvalProgram() { return QUANTREF_RUN_EVAL; }

std::string Program(const std::string& name) {
  return (fs::path(RunEvalProgram()).parent_path() / name).string();
}

}  // namespace quantref::testing
