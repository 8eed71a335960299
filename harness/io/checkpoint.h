#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/io/gguf.h"
#include "harness/io/input_file.h"
#include "harness/io/safetensors.h"

namespace quantref {

// The weights of a model: those of a Hugging Face folder, or of a GGUF file.
// A folder has model.safetensors, or the shards that model.safetensors.index.json names
// ({"weight_map": {"tensor": "shard.safetensors", ...}}); where both are present the single file
// counts, as it does for transformers; where neither is, its one GGUF file does. Of a GGUF model
// that is split (NAME-00001-of-0000N.gguf, with keys split.*) any part stands for all, which lie
// beside it. Tensors have the names of transformers' checkpoints, whatever they are read from.
// Opening checks all headers, and that index and shards hold the same tensors; it reads no weights.
// Threads may share it.
class Checkpoint {
 public:
  // `path`: of the folder or the GGUF file.
  static std::shared_ptr<const Checkpoint> Open(const std::filesystem::path& path);

  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  const Tensor* Find(std::string_view name) const;  // nullptr if there is none
  const Tensor& Get(std::string_view name) const;   // Error if there is none
  // A tensor of a GGUF model under the name that its files have; nullptr if there is none.
  const Tensor* FindStored(std::string_view name) const;

  const std::vector<std::string>& names() const { return names_; }  // of all tensors, sorted
  const std::filesystem::path& dir() const { return dir_; }         // or the GGUF file
  // The file that has a GGUF model's keys; nullptr where the model is in safetensors.
  const GgufFile* gguf() const { return gguf_.empty() ? nullptr : &gguf_.front(); }
  // The GGUF file that the path stands for: itself, or the folder's; nothing for a folder with
  // safetensors. Error where a folder has several models in GGUF.
  static std::optional<std::filesystem::path> FindGguf(const std::filesystem::path& path);
  // The names of the GGUF files that stand in a folder whose safetensors are what Open reads.
  static std::vector<std::string> GgufPassedBy(const std::filesystem::path& path);

  uint64_t FileBytes() const;    // of the files together
  uint64_t CopiedBytes() const;  // of the tensors that are kept in memory beside them
  // The same of a path whose files were not opened; 0 for what Open refuses.
  static uint64_t FileBytesIn(const std::filesystem::path& path);

  // Of the single file; of several, over the lines "<sha256 of the file>  <its name>\n" in name
  // order, as sha256sum prints them. Reads all weights at the first call, on so many threads.
  const std::string& Sha256(size_t threads = 1) const;

  // The files and the index. InputFile::CheckUnchanged holds for them from Sha256 on.
  std::vector<InputFile> files() const;

 private:
  explicit Checkpoint(std::filesystem::path dir) : dir_(std::move(dir)) {}
  void OpenFolder();
  void OpenGguf(const std::filesystem::path& path);
  void OpenShards(const std::filesystem::path& index_path);
  std::string HashFiles(size_t threads) const;
  void ListTensors();

  std::filesystem::path dir_;
  std::vector<SafetensorsFile> files_;  // by name
  InputFile index_;
  std::vector<GgufFile> gguf_;          // by name, in place of files_
  std::vector<Tensor> of_gguf_;         // of all parts
  std::vector<const MappedFile*> all_;  // those of files_ or gguf_
  bool sharded_ = false;
  std::vector<const Tensor*> tensors_;  // by name
  std::vector<std::string> names_;      // of tensors_
  mutable std::once_flag sha256_once_;
  mutable std::string sha256_;
};

}  // namespace quantref
