#include "harness/io/open_file.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "harness/base/cancel.h"
#include "harness/base/error.h"

namespace quantref {

namespace fs = std::filesystem;

namespace {

std::string ReadHint(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return "check the path";
    case EACCES:
    case EPERM:
      return "check the permissions of the file and of the folders above it";
    case ENOMEM:
      return "raise the limit of address space (ulimit -v)";
    case EMFILE:
      return "raise the limit of open files (ulimit -n)";
    default:
      return {};
  }
}

// Until there is something to read, or the end. Before a pipe has had a writer read() would say
// that it is at its end.
void WaitForInput(const Descriptor& file) {
  constexpr int kLookMilliseconds = 100;
  pollfd input = {file.get(), POLLIN, 0};
  do {
    ThrowIfCancelled();
  } while (::poll(&input, 1, kLookMilliseconds) <= 0);
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

int OpenToRead(const fs::path& path) {
  // O_NONBLOCK: where a pipe has no writer yet it is waited for below, or it is refused.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) ThrowRead("cannot open", path, errno);
  return fd;
}

struct stat OpenedStat(const Descriptor& file, const fs::path& path) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) ThrowRead("cannot examine", path, errno);
  if (S_ISDIR(info.st_mode)) throw Error("expected a file, found a folder", path.string());
  return info;
}

std::string ReadToEnd(const Descriptor& file, const fs::path& path, size_t max_bytes) {
  const struct stat info = OpenedStat(file, path);
  const auto refuse_size = [&](const std::string& found) {
    throw Error(
        "too large: expected at most " + std::to_string(max_bytes) + " bytes, found " + found,
        path.string());
  };
  const size_t expected = S_ISREG(info.st_mode) ? static_cast<size_t>(info.st_size) : 0;
  if (expected > max_bytes) refuse_size(std::to_string(expected));
  std::string contents;
  size_t used = 0;
  for (;;) {  // the size is only a first guess: /proc says 0, pipes have none, files grow
    if (used == contents.size()) contents.resize(std::max(expected + 1, 2 * used + 4096));
    if (!S_ISREG(info.st_mode)) WaitForInput(file);
    const ssize_t got = ::read(file.get(), contents.data() + used, contents.size() - used);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) ThrowRead("cannot read", path, errno);
    if (got == 0) break;
    used += static_cast<size_t>(got);
    if (used > max_bytes) refuse_size("more");
  }
  contents.resize(used);
  return contents;
}

void ThrowRead(const char* action, const fs::path& path, int error) {
  throw Error(std::string(action) + ": " + Reason(error), path.string(), ReadHint(error));
}

std::string Reason(int error) { return std::error_code(error, std::generic_category()).message(); }

}  // namespace quantref
