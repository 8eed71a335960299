#include "harness/io/json_watched.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "harness/base/error.h"
#include "harness/io/foreign.h"
#include "harness/io/json_limits.h"
#include "harness/io/quoted.h"
#include "harness/io/utf8.h"

namespace quantref {
namespace {

using nlohmann::json;

std::string At(const std::string& where, std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 == 0
  return where + ":" + std::to_string(line) + ":" + std::to_string(before.size() - line_start + 1);
}

// Follows the parser's events; keeps what the parser forgets: which keys the open objects had, and
// where we are.
class Watcher {
 public:
  explicit Watcher(const std::string& where) : where_(where) {}

  void See(json::parse_event_t event, const json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (open_.size() == kMaxJsonDepth) {
          Throw("nested too deeply: expected at most " + std::to_string(kMaxJsonDepth) +
                " levels, found more");
        }
        open_.emplace_back();
        break;
      case json::parse_event_t::object_end:
      case json::parse_event_t::array_end:
        open_.pop_back();
        break;
      case json::parse_event_t::key: {
        const auto [position, is_new] =
            open_.back().keys.insert(parsed.get_ref<const std::string&>());
        open_.back().key = &*position;
        if (!is_new) Throw("duplicate key: expected each key once in an object, found it twice");
        break;
      }
      case json::parse_event_t::value:
        break;
    }
  }

  [[noreturn]] void Throw(const std::string& what) const {
    std::string path;
    for (const Level& level : open_) {
      if (level.key != nullptr) path += (path.empty() ? "" : ".") + *level.key;
    }
    throw Error(what, path.empty() ? where_ : where_ + ", at " + Quoted(path));
  }

 private:
  struct Level {
    std::set<std::string, std::less<>> keys;
    const std::string* key = nullptr;  // the last one seen, in `keys`
  };
  const std::string& where_;
  std::vector<Level> open_;
};

// The parser's message without its prefixes, such as
// "[json.exception.parse_error.101] parse error at line 1, column 2: ".
std::string Reason(std::string message) {
  message.erase(0, message.find("] ") + 2);
  if (message.starts_with("parse error")) message.erase(0, message.find(": ") + 2);
  constexpr size_t kLongest = 300;  // the parser quotes the whole last token
  if (message.size() > kLongest) {
    message.resize(kLongest);
    if (const auto cut = FindInvalidUtf8(message)) message.resize(*cut);
    message += "...";
  }
  return message;
}

}  // namespace

json ParseJsonWatched(std::string_view text, const std::string& where) {
  RefuseForeign(text, "JSON", where);
  if (const auto invalid = FindInvalidUtf8(text)) {
    throw Error("expected UTF-8, found an invalid byte", At(where, text, *invalid));
  }
  // The parser takes NUL for the end of the text and would not look at what follows.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw Error("invalid JSON: found a NUL byte", At(where, text, nul));
  }
  Watcher watcher(where);
  const auto callback = [&watcher](int /*depth*/, json::parse_event_t event, json& parsed) {
    watcher.See(event, parsed);
    return true;  // keep the value
  };
  try {
    return json::parse(text.begin(), text.end(), callback);
  } catch (const json::parse_error& error) {
    // byte: how many were read, the last of which does not fit.
    throw Error("invalid JSON: " + Reason(error.what()),
                At(where, text, std::max<size_t>(error.byte, 1) - 1));
  } catch (const json::exception& error) {
    watcher.Throw("invalid JSON: " + Reason(error.what()));
  }
}

}  // namespace quantref
