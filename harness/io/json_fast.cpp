#include "harness/io/json_fast.h"

#include <simdjson.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "harness/io/json_file.h"

namespace quantref {
namespace {

using nlohmann::json;
using simdjson::dom::element_type;

// False where an object has a key twice, or where there are more than so many levels.
bool Convert(simdjson::dom::element from, size_t levels, json& to);

bool ConvertObject(simdjson::dom::object from, size_t levels, json& to) {
  if (levels == 0) return false;
  json::object_t items;
  for (const auto [key, value] : from) {
    const auto [item, is_new] = items.try_emplace(std::string(key));
    if (!is_new || !Convert(value, levels - 1, item->second)) return false;
  }
  to = std::move(items);
  return true;
}

bool ConvertArray(simdjson::dom::array from, size_t levels, json& to) {
  if (levels == 0) return false;
  json::array_t items;
  items.reserve(from.size());
  for (const simdjson::dom::element value : from) {
    if (!Convert(value, levels - 1, items.emplace_back())) return false;
  }
  to = std::move(items);
  return true;
}

bool Convert(simdjson::dom::element from, size_t levels, json& to) {
  switch (from.type()) {
    case element_type::OBJECT:
      return ConvertObject(simdjson::dom::object(from), levels, to);
    case element_type::ARRAY:
      return ConvertArray(simdjson::dom::array(from), levels, to);
    case element_type::STRING:
      to = std::string(std::string_view(from));
      break;
    case element_type::INT64: {
      // nlohmann::json tells whole numbers by their sign.
      const int64_t number(from);
      to = number < 0 ? json(number) : json(static_cast<uint64_t>(number));
      break;
    }
    case element_type::UINT64:
      to = uint64_t(from);
      break;
    case element_type::DOUBLE:
      to = double(from);
      break;
    case element_type::BOOL:
      to = bool(from);
      break;
    case element_type::NULL_VALUE:
      break;
  }
  return true;
}

}  // namespace

std::optional<json> TryParseJson(std::string_view text) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  json value;
  const bool parsed = parser.parse(text.data(), text.size()).get(root) == simdjson::SUCCESS &&
                      Convert(root, kMaxJsonDepth, value);
  return parsed ? std::optional(std::move(value)) : std::nullopt;
}

}  // namespace quantref
