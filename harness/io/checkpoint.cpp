#include "harness/io/checkpoint.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/io/gguf_names.h"
#include "harness/io/gguf_parts.h"
#include "harness/io/json_file.h"

namespace quantref {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

std::vector<std::string> FileNames(const fs::path& dir) {
  std::vector<std::string> names;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
      names.push_back(entry.path().filename().string());
    }
  } catch (const fs::filesystem_error& error) {
    throw Error("cannot list the folder: " + error.code().message(), dir.string(),
                "check its permissions");
  }
  std::ranges::sort(names);
  return names;
}

// The folder holds neither the single file nor an index: says what it holds instead.
[[noreturn]] void ThrowNoWeights(const fs::path& dir) {
  const std::string expected =
      "expected " + std::string(kSingleFile) + " or " + std::string(kIndexFile) + ", found ";
  const std::vector<std::string> names = FileNames(dir);
  for (const std::string& name : names) {
    const std::string suffix = fs::path(name).extension().string();
    if (suffix == ".safetensors") {
      throw Error(expected + "only " + Quoted(name), dir.string(),
                  "a single file must be named model.safetensors; shards need their index file");
    }
  }
  for (const std::string& name : names) {
    const std::string suffix = fs::path(name).extension().string();
    if (suffix == ".bin" || suffix == ".pt" || suffix == ".pth") {
      throw Error(expected + Quoted(name) + ", which is pickled and could run code when loaded",
                  dir.string(),
                  "convert it to safetensors, for example in Python with transformers: "
                  "AutoModelForCausalLM.from_pretrained(dir).save_pretrained(dir)");
    }
  }
  throw Error(expected + "no weights", dir.string(), "check the path of the model");
}

void CheckShardName(const std::string& name, const std::string& where) {
  const bool is_plain = !name.empty() && name != "." && name != ".." &&
                        name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
  if (!is_plain) {
    throw Error(
        "expected the plain name of a file in the same folder as shard, found " + Quoted(name),
        where);
  }
}

using WeightMap = std::map<std::string, std::string, std::less<>>;  // tensor -> shard

WeightMap ReadIndex(std::string_view text, const std::string& where) {
  const nlohmann::json index = ParseJson(text, where);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw Error("expected an object with a map \"weight_map\", found none", where);
  }
  WeightMap shards;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string()) {
      throw Error(
          "expected the name of a shard for tensor " + Quoted(tensor) + ", found another type",
          where);
    }
    const auto& name = shard.get_ref<const std::string&>();
    CheckShardName(name, where);
    shards.emplace(tensor, name);
  }
  if (shards.empty()) throw Error("expected tensors in weight_map, found none", where);
  return shards;
}

// The files that hold the checkpoint's tensors, whether they are there or not; none where it has
// neither of the names that Open looks for.
std::set<fs::path> WeightFiles(const fs::path& dir) {
  if (const std::optional<fs::path> gguf = Checkpoint::FindGguf(dir)) {
    const std::vector<fs::path> parts = GgufParts(*gguf);
    return {parts.begin(), parts.end()};
  }
  if (IsPresent(dir / kSingleFile)) return {dir / kSingleFile};
  const fs::path index = dir / kIndexFile;
  if (!IsPresent(index)) return {};
  std::set<fs::path> files;
  for (const auto& [tensor, shard] : ReadIndex(ReadFile(index, kMaxJsonFileBytes), index.string()))
    files.insert(dir / shard);
  return files;
}

}  // namespace

std::optional<fs::path> Checkpoint::FindGguf(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    if (path.extension() == kGgufSuffix) return path;
    return std::nullopt;
  }
  if (IsPresent(path / kSingleFile) || IsPresent(path / kIndexFile)) return std::nullopt;
  return OneGgufModel(path, FileNames(path));
}

std::vector<std::string> Checkpoint::GgufPassedBy(const fs::path& path) {
  if (!IsPresent(path / kSingleFile) && !IsPresent(path / kIndexFile)) return {};
  std::vector<std::string> names = FileNames(path);
  std::erase_if(names,
                [](const std::string& name) { return fs::path(name).extension() != kGgufSuffix; });
  return names;
}

std::shared_ptr<const Checkpoint> Checkpoint::Open(const fs::path& path) {
  std::error_code error;
  const std::optional<fs::path> gguf = FindGguf(path);
  if (!gguf && !fs::is_directory(path, error)) {
    const bool is_file = fs::exists(path, error);
    throw Error(std::string("expected the folder of a model or a GGUF file, found ") +
                    (is_file ? "another file" : "nothing that can be opened"),
                path.string(),
                is_file ? "give the folder that holds it" : "check the path of the model");
  }
  // Not make_shared: the constructor is private.
  const std::shared_ptr<Checkpoint> checkpoint(new Checkpoint(gguf.value_or(path)));
  if (gguf) {
    checkpoint->OpenGguf(*gguf);
  } else {
    checkpoint->OpenFolder();
  }
  checkpoint->ListTensors();
  return checkpoint;
}

void Checkpoint::OpenFolder() {
  if (IsPresent(dir_ / kSingleFile)) {
    files_.push_back(SafetensorsFile::Open(dir_ / kSingleFile));
  } else if (IsPresent(dir_ / kIndexFile)) {
    OpenShards(dir_ / kIndexFile);
  } else {
    ThrowNoWeights(dir_);
  }
  for (const SafetensorsFile& file : files_) all_.push_back(&file.file());
}

void Checkpoint::OpenGguf(const fs::path& path) {
  gguf_ = OpenGgufParts(path);
  sharded_ = gguf_.size() > 1;
  for (const GgufFile& file : gguf_) {
    for (Tensor& tensor : AsTransformers(gguf_.front(), file))
      of_gguf_.push_back(std::move(tensor));
    all_.push_back(&file.file());
  }
}

void Checkpoint::OpenShards(const fs::path& index_path) {
  const std::string where = index_path.string();
  FileContents index = ReadInput(index_path, kMaxJsonFileBytes);
  index_ = std::move(index.file);
  const WeightMap weight_map = ReadIndex(index.bytes, where);
  std::map<std::string, const SafetensorsFile*, std::less<>> shards;
  for (const auto& [tensor, shard] : weight_map) shards.emplace(shard, nullptr);
  sharded_ = true;
  files_.reserve(shards.size());  // keeps the addresses
  for (auto& [name, file] : shards) {
    if (!IsPresent(dir_ / name)) {
      throw Error("expected the shard " + Quoted(name) + " beside the index, found none", where,
                  "download the model again, or the missing file");
    }
    file = &files_.emplace_back(SafetensorsFile::Open(dir_ / name));
  }
  for (const auto& [tensor, shard] : weight_map) {
    if (shards[shard]->Find(tensor) == nullptr) {
      throw Error("expected tensor " + Quoted(tensor) + " in shard " + Quoted(shard) +
                      ", where the index places it, found none",
                  where);
    }
  }
  for (const auto& [name, file] : shards) {
    for (const Tensor& tensor : file->tensors()) {
      const auto place = weight_map.find(tensor.name);
      if (place != weight_map.end() && place->second == name) continue;
      throw Error("expected the index to place tensor " + Quoted(tensor.name) + " in shard " +
                      Quoted(name) + ", which holds it, found " +
                      (place == weight_map.end() ? "no entry for it" : Quoted(place->second)),
                  where);
    }
  }
}

void Checkpoint::ListTensors() {
  for (const SafetensorsFile& file : files_) {
    for (const Tensor& tensor : file.tensors()) tensors_.push_back(&tensor);
  }
  for (const Tensor& tensor : of_gguf_) tensors_.push_back(&tensor);
  std::ranges::sort(tensors_, {}, &Tensor::name);
  const auto twice = std::ranges::adjacent_find(tensors_, {}, &Tensor::name);
  if (twice != tensors_.end()) {
    throw Error("expected tensor " + Quoted((*twice)->name) + " in one file, found it in two",
                dir_.string());
  }
  for (const Tensor* tensor : tensors_) names_.push_back(tensor->name);
}

const Tensor* Checkpoint::Find(std::string_view name) const {
  const auto place = std::ranges::lower_bound(tensors_, name, {}, &Tensor::name);
  return place != tensors_.end() && (*place)->name == name ? *place : nullptr;
}

const Tensor& Checkpoint::Get(std::string_view name) const {
  const Tensor* const tensor = Find(name);
  if (tensor == nullptr) {
    throw Error("expected tensor " + Quoted(name) + ", found " + std::to_string(names_.size()) +
                    " others but not this one",
                dir_.string(),
                gguf_.empty() ? "check that the weights and config.json belong to the same model"
                              : "the file lacks a part of its architecture: download it again, or "
                                "convert the model again");
  }
  return *tensor;
}

const Tensor* Checkpoint::FindStored(std::string_view name) const {
  for (const GgufFile& file : gguf_) {
    if (const Tensor* const tensor = file.Find(name)) return tensor;
  }
  return nullptr;
}

uint64_t Checkpoint::FileBytes() const {
  uint64_t bytes = 0;
  for (const MappedFile* file : all_) bytes += file->bytes().size();
  return bytes;
}

uint64_t Checkpoint::CopiedBytes() const {
  uint64_t bytes = 0;
  for (const SafetensorsFile& file : files_) bytes += file.copied_bytes();
  return bytes;
}

uint64_t Checkpoint::FileBytesIn(const fs::path& dir) {
  uint64_t bytes = 0;
  for (const fs::path& file : WeightFiles(dir)) {
    std::error_code none;
    const uintmax_t size = fs::file_size(file, none);
    bytes += none ? 0 : size;
  }
  return bytes;
}

std::string Checkpoint::HashFiles(size_t threads) const {
  std::vector<std::string> hashes(all_.size());
  ParallelFor(all_.size(), threads, [&](size_t i, size_t) { hashes[i] = all_[i]->Sha256(); });
  if (!sharded_) return hashes.front();
  std::string lines;
  for (size_t i = 0; i < all_.size(); ++i)
    lines += hashes[i] + "  " + all_[i]->path().filename().string() + "\n";
  return Sha256Hex(lines);
}

const std::string& Checkpoint::Sha256(size_t threads) const {
  std::call_once(sha256_once_, [&] { sha256_ = HashFiles(threads); });
  return sha256_;
}

std::vector<InputFile> Checkpoint::files() const {
  std::vector<InputFile> files = {index_};
  for (const MappedFile* file : all_) files.push_back(file->file());
  return files;
}

}  // namespace quantref
