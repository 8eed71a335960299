#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/io/input_file.h"
#include "harness/io/safetensors.h"

namespace quantref {

// The weights of a Hugging Face model folder: model.safetensors, or the shards that
// model.safetensors.index.json names
// ({"weight_map": {"tensor": "shard.safetensors", ...}}). Where both are present the single file
// counts, as it does for transformers. Opening checks all headers, and that index and shards hold
// the same tensors; it reads no weights. Threads may share it.
class Checkpoint {
 public:
  static std::shared_ptr<const Checkpoint> Open(const std::filesystem::path& dir);

  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  const Tensor* Find(std::string_view name) const;  // nullptr if there is none
  const Tensor& Get(std::string_view name) const;   // Error if there is none

  const std::vector<std::string>& names() const { return names_; }  // of all tensors, sorted
  const std::filesystem::path& dir() const { return dir_; }
  uint64_t FileBytes() const;    // of the safetensors files together
  uint64_t CopiedBytes() const;  // of the tensors that are kept in memory beside them
  // The same of a folder whose files were not opened; 0 for what Open refuses.
  static uint64_t FileBytesIn(const std::filesystem::path& dir);

  // Of the single file; of shards, over the lines "<sha256 of the shard>  <its name>\n" in name
  // order, as sha256sum prints them. Reads all weights at the first call, on so many threads.
  const std::string& Sha256(size_t threads = 1) const;

  // The safetensors files and the index. InputFile::CheckUnchanged holds for them from Sha256 on.
  std::vector<InputFile> files() const;

 private:
  explicit Checkpoint(std::filesystem::path dir) : dir_(std::move(dir)) {}
  void OpenShards(const std::filesystem::path& index_path);
  std::string HashFiles(size_t threads) const;
  void ListTensors();

  std::filesystem::path dir_;
  std::vector<SafetensorsFile> files_;  // by name
  InputFile index_;
  bool sharded_ = false;
  std::vector<const Tensor*> tensors_;  // by name
  std::vector<std::string> names_;      // of tensors_
  mutable std::once_flag sha256_once_;
  mutable std::string sha256_;
};

}  // namespace quantref
