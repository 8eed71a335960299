#include "harness/model/gguf_promise.h"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <utility>
#include <vector>

namespace quantref {
namespace {

struct FileType {
  uint64_t number;
  std::string_view name, type;
};
// llama.h, enum llama_ftype; without types whose blocks nothing here decodes.
constexpr FileType kFileTypes[] = {
    {0, "F32", "F32"},        {1, "F16", "F16"},          {2, "Q4_0", "Q4_0"},
    {3, "Q4_1", "Q4_1"},      {7, "Q8_0", "Q8_0"},        {8, "Q5_0", "Q5_0"},
    {9, "Q5_1", "Q5_1"},      {10, "Q2_K", "Q2_K"},       {11, "Q3_K_S", "Q3_K"},
    {12, "Q3_K_M", "Q3_K"},   {13, "Q3_K_L", "Q3_K"},     {14, "Q4_K_S", "Q4_K"},
    {15, "Q4_K_M", "Q4_K"},   {16, "Q5_K_S", "Q5_K"},     {17, "Q5_K_M", "Q5_K"},
    {18, "Q6_K", "Q6_K"},     {21, "Q2_K_S", "Q2_K"},     {25, "IQ4_NL", "IQ4_NL"},
    {30, "IQ4_XS", "IQ4_XS"}, {32, "BF16", "BF16"},       {36, "TQ1_0", "TQ1_0"},
    {37, "TQ2_0", "TQ2_0"},   {38, "MXFP4_MOE", "MXFP4"}, {39, "NVFP4", "NVFP4"},
};

// Of ggml's types, the longest first, so that Q4_K is not taken for a part of another.
std::vector<std::string> TypeNames() {
  std::vector<std::string> names;
  for (uint32_t number = 0; number < 64; ++number) {
    if (const GgmlTypeRow* row = FindGgmlType(number)) names.emplace_back(row->name);
  }
  std::stable_sort(names.begin(), names.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });
  return names;
}

// Whether a word goes on at the place.
bool GoesOn(std::string_view name, size_t at) {
  return at < name.size() && std::isalnum(static_cast<unsigned char>(name[at])) != 0;
}

// Where it ends with the size of its mix behind it, if it has one: _S, _M, _L, _XL.
size_t EndOfMix(std::string_view name, size_t end) {
  size_t at = end + 1;
  while (at < name.size() && std::string_view("SMLX").find(name[at]) != std::string_view::npos)
    ++at;
  const bool sized = end < name.size() && name[end] == '_' && at > end + 1 && !GoesOn(name, at);
  return sized ? at : end;
}

// Where the type stands as a word of its own; npos: nowhere.
size_t FindWord(std::string_view name, std::string_view type) {
  size_t at = name.find(type);
  while (at != std::string_view::npos &&
         ((at > 0 && GoesOn(name, at - 1)) || GoesOn(name, at + type.size())))
    at = name.find(type, at + 1);
  return at;
}

}  // namespace

std::optional<GgufPromise> PromiseOfKey(const GgufFile& file) {
  const std::optional<uint64_t> number = file.Count("general.file_type");
  const auto row = std::find_if(std::begin(kFileTypes), std::end(kFileTypes),
                                [&](const FileType& type) { return type.number == number; });
  if (row == std::end(kFileTypes)) return std::nullopt;
  return GgufPromise{std::string(row->name), std::string(row->type)};
}

std::optional<GgufPromise> PromiseOfName(const std::string& file_name) {
  std::string name = file_name.substr(0, file_name.rfind('.'));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (const std::string& type : TypeNames()) {
    const size_t at = FindWord(name, type);
    if (at == std::string::npos) continue;
    return GgufPromise{name.substr(at, EndOfMix(name, at + type.size()) - at), type};
  }
  return std::nullopt;
}

}  // namespace quantref
