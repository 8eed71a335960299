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
using testing::Together;
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
  return lab.Run(Together({"train.yaml"}, arguments));
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
  const std::string methods = GENERATE("gptq+qat", "gptq+lora");
  const Strings many = {"--set", "finetune.steps=60",   "--set", "finetune.checkpoint=5",
                        "--set", "quantize.lora.rank=4"};
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
    CHECK(Contains(refused.err, "another run is at work with train " + methods));
  }
  const ProcessResult resumed = lab.Run(command);
  INFO(resumed.err);
  REQUIRE(resumed.exit_code == 0);
  // Adapters stand beside codes that no checkpoint has.
  CHECK(Contains(resumed.err, "quantizing") == (methods == "gptq+lora"));
  const RecordJson a = whole.Record(methods), b = lab.Record(methods);
  CHECK(a["hashes"] == b["hashes"]);
  CHECK(a["finetune"] == b["finetune"]);
  CHECK(checkpoints().empty());
}

const Strings kSmallRank = {"--set", "quantize.lora.rank=4", "--set", "quantize.lora.alpha=8"};

TEST_CASE("run_eval: adapters are kept apart with their bits, or merged, and all said") {
  const RunEvalLab lab;
  const ProcessResult result =
      Train(lab,
            "rtn, rtn+lora, {method: gptq+lora, label: again, lora: {merge: round}}, {method: "
            "rtn+lora, label: merged, lora: {merge: fp16}}, {method: rtn+lora, label: few, lora: "
            "{merge: fp16, targets: ['*.q_proj', '*.o_proj']}}",
            "", kSmallRank);
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const RecordJson rtn = lab.Record("rtn"), apart = lab.Record("rtn+lora");
  const RecordJson again = lab.Record("again"), merged = lab.Record("merged");
  const RecordJson few = lab.Record("few");
  const double bits = rtn["effective_bits"], kl = rtn["accuracy"]["kl_mean"];
  CHECK_FALSE(rtn.contains("lora"));
  for (const RecordJson& record : {apart, again, merged, few}) {
    if (record["method"] != "again")  // three bits may not tell the weights apart
      CHECK(record["accuracy"]["kl_mean"].get<double>() < kl);
    CHECK(record["finetune"]["losses"].size() == 25);
    CHECK(record["lora"]["rank"] == 4);
    CHECK(record["lora"]["matrices"] == (record["method"] == "few" ? 4 : 14));
    CHECK(record["hashes"]["packed_weights"] != rtn["hashes"]["packed_weights"]);
  }
  // A block has 7680 weights; each of its matrices 4 x (in + out) numbers of 16 bits and a scale.
  CHECK(apart["lora"]["merge"] == "none");
  const double own = apart["lora"]["bits"];
  CHECK(own == Approx(16.0 * apart["lora"]["parameters"].get<double>() / (2 * 7680) +
                      32.0 * 14 / (2 * 7680)));
  CHECK(apart["effective_bits"].get<double>() == Approx(bits + own));
  CHECK(apart["path"] == "kernel");
  CHECK(apart["scheme"] == rtn["scheme"]);
  CHECK(apart["layers"][0]["packed_sha256"] == rtn["layers"][0]["packed_sha256"]);
  CHECK(Contains(apart["layers"][0]["note"].get<std::string>(), "an adapter of rank 4"));
  CHECK(again["effective_bits"].get<double>() == Approx(bits));
  CHECK(again["layers"][0]["method"] == "lora");
  CHECK(again["path"] == "kernel");
  CHECK_FALSE(again["lora"].contains("bits"));
  CHECK(merged["effective_bits"] == 16);
  for (const char* absent : {"scheme", "path", "layers"}) CHECK_FALSE(merged.contains(absent));
  CHECK(few["effective_bits"].get<double>() > bits + 1);
  CHECK(few["effective_bits"].get<double>() < 16);
  CHECK(few["path"] == "kernel");
  CHECK(few["layers"].size() == 10);
  CHECK(Contains(result.out, "rtn+lora: adapters of rank 4, kept apart in FP16"));
  CHECK(Contains(result.out, "merged: adapters of rank 4, merged into weights that are FP16"));
}

TEST_CASE("run_eval: adapters and learned scales give the same bits for any number of threads") {
  const RunEvalLab one, three;
  const std::string methods = "gptq+lora, rtn+qat";
  const Strings learned = Together(kSmallRank, {"--set", "finetune.scales=learned"});
  const std::string timed = std::string("--set=") + testing::kQuickThroughput;
  const ProcessResult first = Train(one, methods, "", Together(learned, {"--threads=1", timed}));
  INFO(first.err);
  REQUIRE(first.exit_code == 0);
  REQUIRE(Train(three, methods, "", Together(learned, {"--threads=3"})).exit_code == 0);
  for (const char* method : {"gptq+lora", "rtn+qat"}) {
    const RecordJson a = one.Record(method), b = three.Record(method);
    CHECK(a["hashes"] == b["hashes"]);
    CHECK(a["finetune"] == b["finetune"]);
    CHECK(a["accuracy"]["window_nll"] == b["accuracy"]["window_nll"]);
    CHECK(a["throughput"]["decode_tokens_s"].size() == 1);
  }
  const RecordJson qat = one.Record("rtn+qat");
  CHECK(qat["finetune"]["scales"] == "learned");
  CHECK(qat["layers"][0]["note"] == "learned scales");
  CHECK(qat["path"] == "kernel");
  CHECK_FALSE(one.Record("gptq+lora")["finetune"].contains("scales"));
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
  refused(Train(lab, "lora"), "'lora' trains behind a method");
  refused(Train(lab, "lora+rtn"), "'lora' stands in 'lora+rtn' where it cannot");
  refused(Train(lab, "quarot+rtn+lora"), "leave out +lora");
  refused(Train(lab, "rtn+lora"), "expected a rank below 16");
  refused(Train(lab, "rtn+lora", "", {"--set", "quantize.lora.targets=['*.query']"}),
          "'*.query' matches no quantized matrix");
  refused(Train(lab, "rtn+lora", "", {"--set", "quantize.lora.targets=[]"}), "at least one glob");
  refused(Train(lab, "rtn+lora", "", {"--set", "quantize.lora.merge=half"}),
          "unknown value 'half'");
  refused(Train(lab, "rtn+lora", "", {"--set", "quantize.lora.rank=0"}), "quantize.lora.rank");
  refused(Train(lab, "{method: rtn+qat, label: x, lora: {rank: 4}}"),
          "nothing, as rtn+qat does not read it");
  refused(Train(lab, "rtn+lora", "", Together(kSmallRank, {"--set", "finetune.scales=learned"})),
          "as no method is trained while it is rounded");
  refused(Train(lab, "rtn+qat", ", scales: learned", {"--set", "quantize.weights={format: nf4}"}),
          "of the format int alone, found nf4");
  refused(Train(lab, "rtn+qat", "", {"--set", "finetune.lr=1e6"}), "finetune.lr");
  refused(Train(lab, "rtn+qat", "", {"--set", "finetune.steps=600000"}),
          "expected up to 1048576 windows of training, found 600000 steps of 2");
}

}  // namespace
}  // namespace quantref
