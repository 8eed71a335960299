#include "harness/io/json_file.h"

#include <nlohmann/json.hpp>

#include "harness/io/json_reader.h"

namespace quantref {

using nlohmann::json;

json ParseJson(std::string_view text, const std::string& where) {
  return JsonDocument::Parse(text, where).root().Copy();
}

json ReadJsonFile(const std::filesystem::path& path) {
  return JsonDocument::Read(path).root().Copy();
}

}  // namespace quantref
