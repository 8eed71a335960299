#include "harness/testing/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "harness/base/check.h"
#include "harness/base/error.h"

namespace quantref::testing {
namespace {

std::vector<FuzzTarget>& Targets() {
  static std::vector<FuzzTarget> targets;
  return targets;
}

}  // namespace

AddFuzzTarget::AddFuzzTarget(FuzzTarget target) { Targets().push_back(target); }

const std::vector<FuzzTarget>& FuzzTargets() { return Targets(); }

void RunFuzzTarget(const FuzzTarget& target, std::string_view input) {
  try {
    target.run(input);
  } catch (const Error& error) {
    QR_CHECK(!error.problem().empty());
    QR_CHECK(!error.where().empty());
  }
}

InputFile::InputFile(std::string_view bytes) : fd_(::memfd_create("input", MFD_CLOEXEC)) {
  QR_CHECK_LE(0, fd_);
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    QR_CHECK_LT(0, written);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

InputFile::~InputFile() { ::close(fd_); }

std::filesystem::path InputFile::path() const { return "/proc/self/fd/" + std::to_string(fd_); }

}  // namespace quantref::testing
