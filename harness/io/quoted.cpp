#include "harness/io/quoted.h"

#include <nlohmann/json.hpp>

namespace quantref {

std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 100;
  std::string shown(text.substr(0, kLongest));
  if (text.size() > kLongest) shown += "...";
  return nlohmann::json(shown).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace quantref
