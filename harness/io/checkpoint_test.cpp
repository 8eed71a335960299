#include "harness/io/checkpoint.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/testing/gguf_builder.h"
#include "harness/testing/safetensors_builder.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::GgufBuilder;
using testing::SafetensorsBuilder;
using testing::TempDir;

SafetensorsBuilder OneByte(const std::string& name, const std::string& byte) {
  return SafetensorsBuilder().Add(name, "U8", {1}, byte);
}

void WriteIndex(const TempDir& dir, const json& weight_map) {
  testing::WriteFile(dir / "model.safetensors.index.json",
                     json{{"metadata", {{"total_size", 3}}}, {"weight_map", weight_map}}.dump());
}

// Two shards with the tensors a, c and b.
void WriteSharded(const TempDir& dir) {
  OneByte("a", "A").Add("c", "U8", {1}, "C").Write(dir / "model-00001-of-00002.safetensors");
  OneByte("b", "B").Write(dir / "model-00002-of-00002.safetensors");
  WriteIndex(dir, {{"a", "model-00001-of-00002.safetensors"},
                   {"b", "model-00002-of-00002.safetensors"},
                   {"c", "model-00001-of-00002.safetensors"}});
}

TEST_CASE("checkpoint: a single file", "[checkpoint]") {
  const TempDir dir;
  const SafetensorsBuilder builder = OneByte("b", "B").Add("a", "U8", {1}, "A");
  builder.Write(dir / "model.safetensors");
  const auto checkpoint = Checkpoint::Open(dir.path());
  CHECK(checkpoint->dir() == dir.path());
  CHECK(checkpoint->names() == std::vector<std::string>{"a", "b"});
  CHECK(checkpoint->Find("x") == nullptr);
  CHECK(checkpoint->Get("b").data[0] == std::byte{'B'});
  CHECK(checkpoint->FileBytes() == builder.Bytes().size());
  CHECK(checkpoint->Sha256() == Sha256Hex(builder.Bytes()));
  CHECK_ERROR(checkpoint->Get("x"), dir.path().string(), "expected tensor \"x\"", "found 2 others");
}

TEST_CASE("checkpoint: the bundled model", "[checkpoint]") {
  const auto checkpoint = Checkpoint::Open(testing::ReferenceModel("wikilm-2m"));
  CHECK(checkpoint->Get("model.norm.weight").shape == std::vector<size_t>{128});
  CHECK(checkpoint->Sha256().size() == 64);
}

TEST_CASE("checkpoint: shards", "[checkpoint]") {
  const TempDir dir;
  WriteSharded(dir);
  const auto checkpoint = Checkpoint::Open(dir.path());
  CHECK(checkpoint->names() == std::vector<std::string>{"a", "b", "c"});
  CHECK(checkpoint->Get("a").data[0] == std::byte{'A'});
  CHECK(checkpoint->Get("b").data[0] == std::byte{'B'});
  CHECK(checkpoint->Get("c").data[0] == std::byte{'C'});
  std::string lines;
  uint64_t bytes = 0;
  for (const std::string name :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
    const std::string contents = ReadFile(dir / name, 10'000);
    lines += Sha256Hex(contents) + "  " + name + "\n";
    bytes += contents.size();
  }
  CHECK(checkpoint->Sha256() == Sha256Hex(lines));
  CHECK(checkpoint->FileBytes() == bytes);
}

TEST_CASE("checkpoint: the hash may be asked for by many threads", "[checkpoint]") {
  const auto checkpoint = Checkpoint::Open(testing::ReferenceModel("wikilm-2m"));
  std::vector<std::string> hashes(4);
  {
    std::vector<std::jthread> threads;
    for (std::string& hash : hashes) {
      threads.emplace_back([&hash, checkpoint] { hash = checkpoint->Sha256(); });
    }
  }
  for (const std::string& hash : hashes) CHECK(hash == checkpoint->Sha256());
}

TEST_CASE("checkpoint: the single file counts where an index is present, too", "[checkpoint]") {
  const TempDir dir;
  WriteSharded(dir);
  OneByte("single", "S").Write(dir / "model.safetensors");
  CHECK(Checkpoint::Open(dir.path())->names() == std::vector<std::string>{"single"});
}

TEST_CASE("checkpoint: index and shards must hold the same tensors", "[checkpoint]") {
  const std::string first = "model-00001-of-00002.safetensors";
  const std::string second = "model-00002-of-00002.safetensors";
  const TempDir dir;
  WriteSharded(dir);
  SECTION("a tensor that its shard lacks") {
    WriteIndex(dir, {{"a", first}, {"b", second}, {"c", first}, {"d", second}});
    CHECK_ERROR(Checkpoint::Open(dir.path()), "index.json", "tensor \"d\"", second);
  }
  SECTION("a tensor in another shard than the index says") {
    WriteIndex(dir, {{"a", first}, {"b", second}, {"c", second}});
    CHECK_ERROR(Checkpoint::Open(dir.path()), "tensor \"c\"", second);
  }
  SECTION("a tensor that the index lacks") {
    WriteIndex(dir, {{"a", first}, {"b", second}});
    CHECK_ERROR(Checkpoint::Open(dir.path()), "tensor \"c\"", first, "no entry");
  }
  SECTION("a tensor in two shards") {
    OneByte("b", "B").Add("a", "U8", {1}, "X").Write(dir / second);
    CHECK_ERROR(Checkpoint::Open(dir.path()), "tensor \"a\"", first, second);
  }
  SECTION("a shard that is missing") {
    fs::remove(dir / second);
    CHECK_ERROR(Checkpoint::Open(dir.path()), "index.json", "expected the shard", second);
  }
  SECTION("a shard that is damaged") {
    testing::WriteFile(dir / second, "garbage!garbage!");
    CHECK_ERROR(Checkpoint::Open(dir.path()), second, "header");
  }
}

TEST_CASE("checkpoint: a malformed index is refused", "[checkpoint]") {
  const TempDir dir;
  const fs::path index = dir / "model.safetensors.index.json";
  for (const char* text : {"[]", "{}", R"({"weight_map": []})", R"({"weight_map": "x"})"}) {
    testing::WriteFile(index, text);
    CHECK_ERROR(Checkpoint::Open(dir.path()), "index.json", "weight_map");
  }
  testing::WriteFile(index, "{\n,");
  CHECK_ERROR(Checkpoint::Open(dir.path()), "index.json:2:1");
  WriteIndex(dir, json::object());
  CHECK_ERROR(Checkpoint::Open(dir.path()), "expected tensors");
  WriteIndex(dir, {{"a", 7}});
  CHECK_ERROR(Checkpoint::Open(dir.path()), "tensor \"a\"", "another type");
}

TEST_CASE("checkpoint: shard names cannot lead out of the folder", "[checkpoint]") {
  const TempDir dir;
  OneByte("a", "A").Write(dir / "outside.safetensors");
  fs::create_directory(dir / "model");
  for (const std::string& name :
       {std::string("../outside.safetensors"), (dir / "outside.safetensors").string(),
        std::string("sub/x.safetensors"), std::string(".."), std::string("."), std::string(),
        std::string("x\0y", 3)}) {
    testing::WriteFile(dir / "model/model.safetensors.index.json",
                       json{{"weight_map", {{"a", name}}}}.dump());
    CHECK_ERROR(Checkpoint::Open(dir / "model"), "index.json", "plain name of a file");
  }
}

TEST_CASE("checkpoint: other kinds of weights are refused by name", "[checkpoint]") {
  const TempDir dir;
  testing::WriteFile(dir / "config.json", "{}");
  CHECK_ERROR(Checkpoint::Open(dir.path()), "model.safetensors", "found no weights");
  testing::WriteFile(dir / "pytorch_model.bin", "x");
  CHECK_ERROR(Checkpoint::Open(dir.path()), "pytorch_model.bin", "convert it to safetensors");
  fs::remove(dir / "pytorch_model.bin");
  OneByte("a", "A").Write(dir / "model-00001-of-00002.safetensors");
  CHECK_ERROR(Checkpoint::Open(dir.path()), "only \"model-00001-of-00002.safetensors\"", "index");
}

TEST_CASE("checkpoint: what is neither a folder nor GGUF is refused", "[checkpoint]") {
  const TempDir dir;
  testing::WriteFile(dir / "file", "x");
  CHECK_ERROR(Checkpoint::Open(dir / "none"), (dir / "none").string(), "check the path");
  CHECK_ERROR(Checkpoint::Open(dir / "file"), "found another file", "folder that holds it");
  fs::create_symlink(dir / "gone", dir / "model.safetensors");
  CHECK_ERROR(Checkpoint::Open(dir.path()), "model.safetensors", "No such file");
}

GgufBuilder OneTensor(const std::string& name) {
  return GgufBuilder().Text("general.architecture", "llama").AddFloats(name, {2}, {{1, 2}});
}

TEST_CASE("checkpoint: a GGUF file, by its path or its folder's", "[checkpoint]") {
  const TempDir dir;
  const fs::path path = dir / "model-f32.gguf";
  const GgufBuilder builder = OneTensor("output_norm.weight");
  builder.Write(path);
  for (const fs::path& given : {path, dir.path()}) {
    CHECK(Checkpoint::FindGguf(given) == path);
    CHECK(Checkpoint::FileBytesIn(given) == builder.Bytes().size());
    const auto checkpoint = Checkpoint::Open(given);
    CHECK(checkpoint->names() == std::vector<std::string>{"model.norm.weight"});
    CHECK(checkpoint->dir() == path);
    REQUIRE(checkpoint->gguf() != nullptr);
    CHECK(checkpoint->gguf()->Text("general.architecture") == "llama");
    CHECK(checkpoint->Sha256() == Sha256Hex(builder.Bytes()));
    CHECK(checkpoint->FileBytes() == builder.Bytes().size());
    CHECK_ERROR(checkpoint->Get("x"), "model-f32.gguf", "expected tensor \"x\"");
  }
  builder.Write(dir / "other.gguf");
  CHECK_ERROR(Checkpoint::Open(dir.path()), "model-f32.gguf", "other.gguf", "path of the file");
  CHECK(Checkpoint::GgufPassedBy(dir.path()).empty());
  OneByte("a", "A").Write(dir / "model.safetensors");  // counts where both are present
  CHECK(Checkpoint::GgufPassedBy(dir.path()) ==
        std::vector<std::string>{"model-f32.gguf", "other.gguf"});
  CHECK(Checkpoint::GgufPassedBy(path).empty());
  CHECK(Checkpoint::Open(dir.path())->names() == std::vector<std::string>{"a"});
  CHECK(Checkpoint::Open(dir.path())->gguf() == nullptr);
  testing::WriteFile(dir / "bad.gguf", "garbage");
  CHECK_ERROR(Checkpoint::Open(dir / "bad.gguf"), "bad.gguf", "expected a GGUF file");
  CHECK_ERROR(Checkpoint::Open(dir / "none.gguf"), "none.gguf", "No such file");
}

GgufBuilder Part(const std::string& tensor, uint32_t number, uint32_t count) {
  return OneTensor(tensor).U32("split.no", number).U32("split.count", count);
}

TEST_CASE("checkpoint: parts of a GGUF model", "[checkpoint]") {
  const TempDir dir;
  const fs::path first = dir / "m-00001-of-00002.gguf", second = dir / "m-00002-of-00002.gguf";
  const GgufBuilder head = Part("output_norm.weight", 0, 2).U32("split.tensors.count", 2);
  const GgufBuilder tail = Part("blk.0.ffn_norm.weight", 1, 2);
  head.Write(first);
  tail.Write(second);
  for (const fs::path& given : {first, second, dir.path()}) {
    const auto checkpoint = Checkpoint::Open(given);
    CHECK(checkpoint->names() ==
          std::vector<std::string>{"model.layers.0.post_attention_layernorm.weight",
                                   "model.norm.weight"});
    CHECK(checkpoint->gguf()->path() == first);
    CHECK(checkpoint->Sha256() == Sha256Hex(Sha256Hex(head.Bytes()) + "  m-00001-of-00002.gguf\n" +
                                            Sha256Hex(tail.Bytes()) + "  m-00002-of-00002.gguf\n"));
    CHECK(Checkpoint::FileBytesIn(given) == head.Bytes().size() + tail.Bytes().size());
  }
  SECTION("one is missing") {
    fs::remove(second);
    CHECK_ERROR(Checkpoint::Open(first), "found no \"m-00002-of-00002.gguf\"");
  }
  SECTION("one is another's") {
    Part("blk.0.ffn_norm.weight", 0, 2).Write(second);
    CHECK_ERROR(Checkpoint::Open(first), "m-00002", "part 2 of 2", "keys of part 1 of 2");
  }
  SECTION("a part under the name of a whole") {
    head.Write(dir / "whole.gguf");
    CHECK_ERROR(Checkpoint::Open(dir / "whole.gguf"), "part 1 of 1", "keys of part 1 of 2");
  }
  SECTION("a tensor in two parts") {
    Part("output_norm.weight", 1, 2).Write(second);
    CHECK_ERROR(Checkpoint::Open(first), "in one file, found it in two");
  }
  SECTION("tensors that are missing") {
    Part("output_norm.weight", 0, 2).U32("split.tensors.count", 3).Write(first);
    CHECK_ERROR(Checkpoint::Open(first), "split.tensors.count", "found 3");
  }
  SECTION("names that are no parts") {
    OneTensor("output.weight").Write(dir / "m-00003-of-00002.gguf");
    CHECK(Checkpoint::Open(dir / "m-00003-of-00002.gguf")->names().size() == 1);
  }
}

}  // namespace
}  // namespace quantref
