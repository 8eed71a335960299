#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"
#include "harness/io/file_lock.h"

// Whole runs of cells that are trained.

namespace quantref {
namespace {

using testing::Contains;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::WriteFile;
using Strings = std::vector<std::string>;

// Another text than the one that is measured on.
void WriteInputs(const RunEvalLab& lab, const std::string& methods, const std::string& more) {
  const std::string sample =
      ReadFile(testing::SourceDir() / "eval/sample/sample.validation.raw", size_t{1} << 20);
  WriteFile(lab / "training.txt", sample.substr(0, 9000));
  WriteFile(lab / "train.yaml",
            "name: train\nmodel: ./model\nquantize: {methods: [" + methods +
                "], weights: {bits: 3, group: 16}}\ncalibration: {dataset: ./training.txt, "
                "samples: 4}\nfinetune: {dataset: ./training.txt, steps: 25, batch: 2, length: 32, "
                "warmup: 2, lr: 3e-3" +
                more + "}\naccuracy: {dataset: ./text.txt}\nthroughput: none\n");
}

ProcessResult Train(const RunEvalLab& lab, const std::string& methods, const std::string& more = "",
                    const Strings& arguments = {}) {
  WriteInputs(lab, methods, more);
  Strings all = {"train.yaml"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return lab.Run(all);
}

TEST_CASE("run_eval: training wins back what rounding lost") {
  const RunEvalLab lab;
  WriteFile(lab / "small.yaml",
            "name: small\nmodel: wikilm-2m\nquantize: {methods: [rtn, rtn+qat], weights: {bits: 3, "
            "group: 128}}\nfinetune: {dataset: sample, split: validation, steps: 6, batch: 2, "
            "length: 128, warmup: 2}\naccuracy: {dataset: sample, window: 256}\n"
            "throughput: none\n");
  const ProcessResult result = lab.Run({"small.yaml", "--windows", "4"});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const double before = lab.Record("rtn")["accuracy"]["kl_mean"];
  CHECK(lab.Record("rtn+qat")["accuracy"]["kl_mean"].get<double>() < 0.85 * before);
}

TEST_CASE(
    "run_eval: a trained cell has its text and losses in the record, and codes on the kernels") {
  const RunEvalLab lab;
  const ProcessResult result = Train(lab, "rtn, rtn+qat, gptq+qat, awq+rtn+qat, full");
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(Contains(result.err, "training train rtn+qat"));
  CHECK_FALSE(lab.Record("rtn").contains("finetune"));
  for (const char* method : {"rtn+qat", "gptq+qat", "awq+rtn+qat"}) {
    INFO(method);
    const RecordJson record = lab.Record(method);
    CHECK(record["hashes"]["packed_weights"] != lab.Record("rtn")["hashes"]["packed_weights"]);
    CHECK(record["path"] == "kernel");
    CHECK(record["effective_bits"] == lab.Record("rtn")["effective_bits"]);
    CHECK(record["scheme"]["name"] == "int3 g16 asym");
    CHECK(record["layers"][0]["method"] == "qat");
    const RecordJson& finetune = record["finetune"];
    CHECK(finetune["steps"] == 25);
    CHECK(finetune["loss"] == "kl");
    CHECK(finetune["dataset"] == "training.txt");
    CHECK(finetune["overlap_with_test"].get<double>() < 0.01);
    CHECK(finetune["losses"].size() == 25);
    CHECK(record["seconds"]["quantize_stages"]["train"].get<double>() > 0);
  }
  const RecordJson full = lab.Record("full");
  CHECK_FALSE(full.contains("scheme"));
  CHECK_FALSE(full.contains("path"));
  CHECK(full["effective_bits"] == 16);
  CHECK(full["finetune"]["loss"] == "ce");
  CHECK(full["finetune"]["token_sha256"] == lab.Record("rtn+qat")["finetune"]["token_sha256"]);
  // Cross-entropy on another text moves the unquantized model itself.
  CHECK(full["accuracy"]["kl_mean"].get<double>() > 1e-3);
}

TEST_CASE("run_eval: a trained cell has the same bits for any number of threads") {
  const RunEvalLab one, three;
  REQUIRE(Train(one, "awq+gptq+qat, full", ", loss: ce", {"--threads", "1"}).exit_code == 0);
  REQUIRE(Train(three, "awq+gptq+qat, full", ", loss: ce", {"--threads", "3"}).exit_code == 0);
  for (const char* method : {"awq+gptq+qat", "full"}) {
    const RecordJson a = one.Record(method), b = three.Record(method);
    CHECK(a["hashes"] == b["hashes"]);
    CHECK(a["finetune"] == b["finetune"]);
    CHECK(a["accuracy"]["window_nll"] == b["accuracy"]["window_nll"]);
  }
}

TEST_CASE("run_eval: training that was killed goes on from its checkpoint to the same bits") {
  const RunEvalLab whole, lab;
  const std::string methods = "gptq+qat";
  const Strings many = {"--set", "finetune.steps=60", "--set", "finetune.checkpoint=5"};
  REQUIRE(Train(whole, methods, "", many).exit_code == 0);
  WriteInputs(lab, methods, "");
  Strings command = {"train.yaml"};
  command.insert(command.end(), many.begin(), many.end());
  testing::Process process(lab.Command(command), lab.Options());
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto checkpoints = [&] {
    Strings names = lab.RecordFiles();
    std::erase_if(names, [](const auto& name) { return !name.starts_with(".training-"); });
    return names;
  };
  while (checkpoints().empty() && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  process.Signal(SIGKILL);
  process.Wait();
  REQUIRE(checkpoints().size() == 1);
  command.emplace_back("--resume");
  {
    FileLock other;
    REQUIRE(FileLock::Take(lab.records() / checkpoints()[0], other) == FileLock::Outcome::kLocked);
    const ProcessResult refused = lab.Run(command);
    CHECK(refused.exit_code == 2);
    CHECK(Contains(refused.err, "another run is at work with train gptq+qat"));
  }
  const ProcessResult resumed = lab.Run(command);
  INFO(resumed.err);
  REQUIRE(resumed.exit_code == 0);
  CHECK_FALSE(Contains(resumed.err, "quantizing"));
  const RecordJson a = whole.Record(methods), b = lab.Record(methods);
  CHECK(a["hashes"] == b["hashes"]);
  CHECK(a["finetune"] == b["finetune"]);
  CHECK(checkpoints().empty());
}

TEST_CASE("run_eval: a dry run prices training and trains nothing") {
  const RunEvalLab lab;
  const ProcessResult result = Train(lab, "rtn+qat", "", {"--dry-run"});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(Contains(result.out, "rtn+qat"));
  CHECK(lab.RecordFiles().empty());
}

TEST_CASE("run_eval: a cell that was trained on the text that is measured says so") {
  const RunEvalLab lab;
  const ProcessResult result = Train(lab, "full", "",
                                     {"--set", "finetune.dataset=./text.txt", "--set",
                                      "finetune.allow_overlap=true", "--set", "finetune.steps=3"});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(Contains(result.out, "trained on text.txt, 3 steps of 2 x 32 tokens"));
  CHECK(Contains(result.out, "CONTAMINATED: trained on the text that is measured"));
}

TEST_CASE("run_eval: what cannot be trained, or on which text, is refused by name") {
  const RunEvalLab lab;
  const auto refused = [&](const ProcessResult& result, const char* part) {
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, part));
  };
  refused(Train(lab, "rtn+qat", "", {"--set", "finetune.dataset=./text.txt"}),
          "the finetune text is the text that is measured");
  refused(Train(lab, "qat"), "'qat' trains behind a method");
  refused(Train(lab, "qat+rtn"), "'qat' stands in 'qat+rtn' where it cannot");
  refused(Train(lab, "awq+full"), "'full' stands in 'awq+full' where it cannot");
  refused(Train(lab, "rtn+qat", "", {"--set", "quantize.activations.bits=8"}),
          "training beside rounded activations");
  refused(Train(lab, "full", "", {"--set", "quantize.activations.bits=8"}),
          "training beside rounded activations");
  refused(Train(lab, "rtn+qat", "", {"--set", "quantize.keep=[]"}),
          "embedding or head is quantized");
  refused(Train(lab, "rtn+qat", "",
                {"--set", "quantize.keep=['*']", "--set", "quantize.kv_cache.group=16"}),
          "qat trains what is rounded, and no matrix is");
  refused(Train(lab, "rtn+qat", "", {"--set", "finetune.warmup=25"}), "fewer than the 25 steps");
  refused(Train(lab, "rtn+qat", "", {"--set", "finetune.lr=1e6"}), "finetune.lr");
  refused(Train(lab, "rtn+qat", "", {"--set", "finetune.steps=600000"}),
          "expected up to 1048576 windows of training, found 600000 steps of 2");
}

}  // namespace
}  // namespace quantref
