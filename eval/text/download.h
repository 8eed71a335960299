#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace quantref {

using Progress = std::function<void(size_t done, size_t total)>;  // bytes; total is 0 while unknown
using Cancelled = std::function<bool()>;

struct HttpLimits {
  std::chrono::seconds connect{10};
  std::chrono::seconds stall{30};  // a transfer slower than 1 kB/s for this long has failed
};

// The body at an http or https URL, after redirects (which must stay on http or https). The proxy
// variables of the environment are honoured. Error: anything but status 200, a body that ends early
// or is longer than max_bytes, a stall, and every failure of the network; Interrupted: cancelled()
// was true. Both functions may be empty; they are called on this thread, several times a second,
// and may throw.
std::string HttpGet(const std::string& url, size_t max_bytes, const Progress& progress = {},
                    const Cancelled& cancelled = {}, const HttpLimits& limits = {});

// The content of one member of a zip archive in memory, with its CRC checked. Error: not an
// archive, a damaged one, no such member, and a member longer than max_bytes or not as long as its
// header says. Never allocates more than max_bytes + 1 for the content, whatever the archive
// claims.
std::string UnzipMember(std::string_view zip, const std::string& member, size_t max_bytes);

}  // namespace quantref
