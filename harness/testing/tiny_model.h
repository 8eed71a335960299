#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quantref::testing {

// The shape of a LLaMA model with random weights, small enough to make one for every assertion.
struct TinyModel {
  size_t hidden = 32, intermediate = 48, layers = 2, heads = 4, kv_heads = 2, head_dim = 8;
  size_t vocab = 64, context = 512;
  bool attention_bias = false, mlp_bias = false, tied = false;
  std::string dtype = "F32";  // of every tensor: F32, F16 or BF16
  uint64_t seed = 0;
  size_t sliding_window = 0;  // 0: none; else the model is a Mistral
};

// A tensor as a safetensors file has it.
struct FileTensor {
  std::string dtype;
  std::vector<size_t> shape;
  std::string bytes;
};
using FileTensors = std::map<std::string, FileTensor>;  // by name

// The values as F32, F16 (the nearest) or BF16 (cut off) numbers in memory.
std::string Stored(std::span<const float> values, std::string_view dtype);

nlohmann::json TinyConfig(const TinyModel& model);  // what config.json says
FileTensors TinyTensors(const TinyModel& model);    // large enough that logits differ widely

// model.safetensors; with config.json.
void WriteTensors(const std::filesystem::path& dir, const FileTensors& tensors);
void WriteTinyModel(const std::filesystem::path& dir, const TinyModel& model);

// wikilm-2m's tokenizer.model. Its BOS is 1, as in TinyConfig.
void CopyTokenizer(const std::filesystem::path& dir);
inline constexpr size_t kTokenizerPieces = 8192;

// The same with as many of its pieces as read English: of 8192 most of a tiny model's work would be
// the head's.
void WriteFewPieces(const std::filesystem::path& dir);
inline constexpr size_t kFewPieces = 1024;

// A tokenizer.model of single characters: a space, a line's end, a to z and '.'; all else is
// unknown (id 0). Its BOS is 1, or it has none.
void WriteLetterTokenizer(const std::filesystem::path& dir, bool bos = true);
inline constexpr size_t kLetterPieces = 32;

}  // namespace quantref::testing
