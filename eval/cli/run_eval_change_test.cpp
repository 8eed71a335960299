// Files that are written to while a run uses them: no record says what was not measured.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "eval/testing/run_eval_lab.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/testing/tiny_gguf.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::Process;
using testing::ProcessResult;
using testing::RunEvalLab;

std::string Contents(const fs::path& path) { return ReadFile(path, size_t{1} << 26); }

// Into the very file, which an open descriptor and a mapping see, and never shorter meanwhile: who
// has it mapped may not be stopped yet.
void Overwrite(const fs::path& path, std::string_view contents) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  file.close();
  REQUIRE(file.good());
  fs::resize_file(path, contents.size());
}

// A run that waits in the middle: the calibration text is a pipe, and is read when the text to
// measure on and the model are loaded and nothing is quantized yet.
class PausedRun {
 public:
  explicit PausedRun(const std::string& model = "./model") {
    testing::WriteFile(lab_.config(),
                       "name: tiny\n"
                       "model: " +
                           model +
                           "\n"
                           "quantize: {methods: [gptq], weights: {bits: 4, group: 16}}\n"
                           "calibration: {dataset: ./pipe.txt, samples: 4, length: 32}\n"
                           "accuracy: {dataset: ./text.txt}\n"
                           "throughput: none\n");
    REQUIRE(::mkfifo((lab_ / "pipe.txt").c_str(), 0600) == 0);
  }

  // Its result when this happens meanwhile.
  ProcessResult While(const std::function<void()>& change) const {
    Process process(lab_.Command({lab_.config()}), lab_.Options());
    const int pipe = OpenPipe();
    change();
    const std::string sample =
        Contents(testing::SourceDir() / "eval/sample/sample.validation.raw").substr(0, 8000);
    REQUIRE(::write(pipe, sample.data(), sample.size()) == static_cast<ssize_t>(sample.size()));
    ::close(pipe);
    return process.Wait();
  }

  const RunEvalLab& lab() const { return lab_; }
  fs::path weights() const { return lab_ / "model/model.safetensors"; }

  // What the weights of another seed would be; of the same size.
  std::string OtherWeights() const {
    testing::WriteTinyModel(lab_ / "other",
                            {.vocab = testing::kFewPieces, .context = 64, .seed = 7});
    return Contents(lab_ / "other/model.safetensors");
  }

 private:
  // As soon as the run has it open.
  int OpenPipe() const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < end) {
      const int pipe = ::open((lab_ / "pipe.txt").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
      if (pipe >= 0) return pipe;
      REQUIRE(errno == ENXIO);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    FAIL("the run did not open the pipe");
    return -1;
  }

  RunEvalLab lab_;
};

void CheckRefused(const RunEvalLab& lab, const ProcessResult& result, const std::string& file) {
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(result.out.empty());
  CHECK(Contains(result.err, "run_eval: ./" + file + ": changed while it was in use"));
  CHECK(Contains(result.err, "hint: nothing was recorded"));
  for (const std::string& name : lab.RecordFiles()) CHECK(name.starts_with('.'));
}

TEST_CASE("run_eval: a file that is written to while a run uses it ends it without a record") {
  const PausedRun run;
  for (const char* name :
       {"model/model.safetensors", "model/config.json", "model/tokenizer.model", "text.txt"}) {
    INFO(name);
    const fs::path path = run.lab() / name;
    const std::string before = Contents(path);
    const std::string after = path == run.weights() ? run.OtherWeights() : before + " ";
    const ProcessResult result = run.While([&] { Overwrite(path, after); });
    CheckRefused(run.lab(), result, name);
    Overwrite(path, before);
  }
}

TEST_CASE("run_eval: a GGUF file that is written to while a run uses it ends it likewise") {
  const PausedRun run("./tiny.gguf");
  testing::GgufBuilder file = testing::TinyGguf(
      {.hidden = 64, .intermediate = 96, .vocab = testing::kLetterPieces, .context = 64});
  testing::AddLetterTokenizer(file);
  file.Write(run.lab() / "tiny.gguf");
  const std::string before = Contents(run.lab() / "tiny.gguf");
  std::string after = before;
  after.back() ^= 1;
  const ProcessResult result = run.While([&] { Overwrite(run.lab() / "tiny.gguf", after); });
  CheckRefused(run.lab(), result, "tiny.gguf");
}

// A run with a candidate and a trained cell that is stopped while it measures, when all of its
// files have been read.
class StoppedRun {
 public:
  StoppedRun() {
    const std::string test = Contents(testing::SourceDir() / "eval/sample/sample.test.raw"),
                      other = Contents(testing::SourceDir() / "eval/sample/sample.validation.raw");
    testing::WriteFile(lab_ / "text.txt", test);
    testing::WriteFile(lab_ / "calibration.txt", other.substr(0, 8000));
    testing::WriteFile(lab_ / "training.txt", other.substr(8000, 8000));
    fs::copy(lab_ / "model", lab_ / "candidate");
    testing::WriteFile(lab_.config(),
                       "name: tiny\n"
                       "model: ./model\n"
                       "quantize: {methods: [gptq, rtn+qat], weights: {bits: 4, group: 16}}\n"
                       "calibration: {dataset: ./calibration.txt, samples: 4, length: 32}\n"
                       "finetune: {dataset: ./training.txt, steps: 2, batch: 1, length: 32, "
                       "warmup: 1}\n"
                       "accuracy: {dataset: ./text.txt}\n"
                       "throughput: none\n");
  }

  // Its result when this happens meanwhile.
  ProcessResult While(const std::function<void()>& change) const {
    fs::remove_all(lab_.records());
    Process process(lab_.Command({lab_.config(), "--candidate", "theirs=./candidate"}),
                    lab_.Options());
    const bool measuring = lab_.WaitForWindows();
    process.Signal(SIGSTOP);
    if (measuring) change();
    process.Signal(SIGCONT);
    ProcessResult result = process.Wait();
    INFO(result.err);
    REQUIRE(measuring);
    return result;
  }

  const RunEvalLab& lab() const { return lab_; }

 private:
  RunEvalLab lab_;
};

TEST_CASE("run_eval: candidates, calibration and training texts that change end a run likewise") {
  const StoppedRun run;
  for (const char* name : {"candidate/model.safetensors", "candidate/config.json",
                           "calibration.txt", "training.txt"}) {
    INFO(name);
    const fs::path path = run.lab() / name;
    const std::string before = Contents(path);
    std::string after = before;
    after.back() ^= 1;
    const ProcessResult result = run.While([&] { Overwrite(path, after); });
    CheckRefused(run.lab(), result, name);
    Overwrite(path, before);
  }
}

TEST_CASE("run_eval: weights that are cut short while a run uses them end it without a record") {
  const PausedRun run;
  const ProcessResult result =
      run.While([&] { fs::resize_file(run.weights(), fs::file_size(run.weights()) / 2); });
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "model/model.safetensors: "));
  CHECK(Contains(result.err, "--resume"));
  for (const std::string& name : run.lab().RecordFiles()) CHECK(name.starts_with(".journal-"));
}

TEST_CASE("run_eval: a record is of the file that was loaded, whatever takes its name later") {
  const PausedRun run;
  const std::string loaded = Contents(run.weights());
  testing::CheckDone(run.While([&] {
    Overwrite(run.weights(), loaded);  // what it held
    testing::WriteFile(run.lab() / "model/new", run.OtherWeights());
    fs::rename(run.lab() / "model/new", run.weights());
  }));
  const auto record = run.lab().Record("gptq");
  CHECK(record["model"]["sha256"] == Sha256Hex(loaded));
  CHECK(record["model"]["config_sha256"] == Sha256Hex(Contents(run.lab() / "model/config.json")));
  CHECK(run.lab().RecordFiles().size() == 2);
}

}  // namespace
}  // namespace quantref
