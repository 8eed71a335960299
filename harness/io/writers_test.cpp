#include <catch2/catch.hpp>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "harness/base/error.h"
#include "harness/base/machine.h"
#include "harness/io/file.h"
#include "harness/io/file_pieces.h"
#include "harness/io/gguf.h"
#include "harness/io/gguf_names.h"
#include "harness/io/gguf_writer.h"
#include "harness/io/safetensors.h"
#include "harness/io/safetensors_writer.h"
#include "harness/io/whole_folder.h"
#include "harness/testing/gguf_builder.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

// Bytes 0, 1, 2, ...; written in two pieces.
std::function<void(const ByteSink&)> Rising(size_t bytes) {
  return [bytes](const ByteSink& sink) {
    std::string all;
    for (size_t i = 0; i < bytes; ++i) all += static_cast<char>(i & 0xff);
    sink(std::string_view(all).substr(0, bytes / 3));
    sink(std::string_view(all).substr(bytes / 3));
  };
}

bool IsRising(const Tensor& tensor) {
  for (size_t i = 0; i < tensor.bytes; ++i) {
    if (tensor.data[i] != static_cast<std::byte>(i & 0xff)) return false;
  }
  return true;
}

TEST_CASE("safetensors_writer: what is written is read, each tensor where its type may lie") {
  const TempDir dir;
  std::vector<TensorToWrite> tensors = {{"codes", DType::kU8, {3, 5}, Rising(15)},
                                        {"scale \"quoted\"", DType::kF16, {7}, Rising(14)},
                                        {"shape", DType::kI64, {2}, Rising(16)},
                                        {"number", DType::kF32, {}, Rising(4)},
                                        {"none", DType::kF32, {0, 4}, Rising(0)}};
  WriteSafetensors(dir / "model.safetensors", tensors, {{"format", "pt"}});
  const SafetensorsFile file = SafetensorsFile::Open(dir / "model.safetensors");
  CHECK(file.tensors().size() == tensors.size());
  CHECK(file.copied_bytes() == 0);
  for (const TensorToWrite& expected : tensors) {
    INFO(expected.name);
    const Tensor* found = file.Find(expected.name);
    REQUIRE(found != nullptr);
    CHECK(found->dtype == expected.dtype);
    CHECK(found->shape == expected.shape);
    CHECK(found->bytes == expected.bytes());
    CHECK(IsRising(*found));
  }
  CHECK(testing::Contains(testing::FileText(dir / "model.safetensors"),
                          R"("__metadata__":{"format":"pt"})"));
  CHECK_ERROR(WriteSafetensors(dir / "model.safetensors", tensors, {}), "left as it is");
}

TEST_CASE("gguf_writer: the same bytes as the builder of tests") {
  const TempDir dir;
  const std::vector<std::string> texts = {"a", "", "long text"};
  const std::vector<float> floats = {1.5f, -2};
  const std::vector<int32_t> integers = {-1, 7};
  GgufWriter writer;
  writer.Text("general.architecture", "llama");
  writer.U32("count", 3);
  writer.F32("number", 0.25);
  writer.Bool("flag", true);
  writer.Texts("texts", texts);
  writer.Floats("floats", floats);
  writer.Integers("integers", integers);
  writer.Add("blocks", GgmlType::kQ8_0, {2, 64}, Rising(2 * 2 * 34));
  writer.Add("vector", GgmlType::kF32, {3}, Rising(12));
  writer.Write(dir / "model.gguf");
  std::string blocks;
  Rising(2 * 2 * 34)([&](std::string_view bytes) { blocks += bytes; });
  const std::string expected = testing::GgufBuilder()
                                   .Text("general.architecture", "llama")
                                   .U32("count", 3)
                                   .F32("number", 0.25f)
                                   .Bool("flag", true)
                                   .Texts("texts", texts)
                                   .Floats("floats", floats)
                                   .Integers("integers", integers)
                                   .Add("blocks", 8, {64, 2}, blocks)
                                   .Add("vector", 0, {3}, blocks.substr(0, 12))
                                   .Bytes();
  CHECK(testing::FileText(dir / "model.gguf") == expected);
}

TEST_CASE("gguf_names: the way back of every name") {
  for (const char* name :
       {"token_embd.weight", "output_norm.weight", "output.weight", "blk.12.attn_q.weight",
        "blk.0.attn_output.bias", "blk.3.ffn_norm.weight", "blk.3.ffn_up.weight"}) {
    for (const char* architecture : {"llama", "qwen2", "gemma2", "phi3"}) {
      INFO(architecture << " " << name);
      CHECK(GgufName(architecture, TransformersName(architecture, name)) == name);
    }
  }
  for (const char* name : {"model.layers.1.mlp.experts.weight", "model.layers.", "other", "",
                           "model.layers.3.", "x.weight"}) {
    INFO(name);
    CHECK_ERROR(GgufName("llama", name), "has no tensor for it");
  }
}

TEST_CASE("whole_folder: there once it is whole, and never in another's place") {
  const TempDir dir;
  fs::path unfinished;
  WriteFolderWhole(dir / "made", [&](const fs::path& folder) {
    unfinished = folder;
    CHECK_FALSE(IsPresent(dir / "made"));
    WriteFileAtomically(folder / "file", "text", false);
  });
  CHECK(testing::FileText(dir / "made/file") == "text");
  CHECK_FALSE(IsPresent(unfinished));
  CHECK_ERROR(WriteFolderWhole(dir / "made", [](const fs::path&) { FAIL("it is written"); }),
              "made", "left as it is");
  CHECK_ERROR(WriteFolderWhole(dir / "failed",
                               [&](const fs::path& folder) {
                                 unfinished = folder;
                                 WriteFileAtomically(folder / "file", "text", false);
                                 throw Error("the disk is full", "failed");
                               }),
              "the disk is full");
  CHECK_FALSE(IsPresent(unfinished));
  CHECK_FALSE(IsPresent(dir / "failed"));
  CHECK_ERROR(WriteFolderWhole(dir / "meanwhile",
                               [&](const fs::path&) { fs::create_directory(dir / "meanwhile"); }),
              "left as it is");
  CHECK_ERROR(WriteFolderWhole(dir / "none/made", [](const fs::path&) {}), "temporary folder");
}

// What a process of that machine has left under a temporary name.
std::string LeftOf(const std::string& host, int number) {
  return ".quantref-1-" + std::to_string(number) + "@" + host + ".tmp";
}

TEST_CASE("writers: what killed ones left is removed by the next there, and no other's work") {
  const TempDir dir;
  const std::string here = HostName();
  const auto leave = [&] {
    testing::WriteFile(dir / LeftOf(here, 0), "a part");
    testing::WriteFile(dir / LeftOf(here, 1) / "model.safetensors", "a part");
  };
  const auto is_left = [&] {
    return IsPresent(dir / LeftOf(here, 0)) || IsPresent(dir / LeftOf(here, 1));
  };
  const std::vector<std::string> others = {LeftOf("not" + here, 2), ".quantref-1-3.other",
                                           "mine@" + here + ".tmp"};
  for (const std::string& name : others) testing::WriteFile(dir / name, "of somebody else");
  fs::create_symlink(dir / others[1], dir / LeftOf(here, 4));
  leave();
  WriteFileAtomically(dir / "file", "text", false);
  CHECK_FALSE(is_left());
  leave();
  WriteFolderWhole(dir / "folder", [](const fs::path&) {});
  CHECK_FALSE(is_left());
  for (const std::string& name : others) CHECK(testing::FileText(dir / name) == "of somebody else");
  CHECK(fs::is_symlink(dir / LeftOf(here, 4)));
}

TEST_CASE("writers: who is at work is not taken for one that was killed") {
  const TempDir dir;
  WriteFolderWhole(dir / "folder", [&](const fs::path& unfinished) {
    WriteFolderWhole(dir / "beside", [](const fs::path&) {});
    WriteFileAtomically(
        dir / "file",
        [&](const ByteSink& sink) {
          WriteFileAtomically(dir / "other", "text", false);
          sink("long text");
        },
        false);
    CHECK(IsPresent(unfinished));
  });
  CHECK(testing::FileText(dir / "file") == "long text");
  for (const char* name : {"folder", "beside", "other"}) CHECK(IsPresent(dir / name));
  CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 4);
}

}  // namespace
}  // namespace quantref
