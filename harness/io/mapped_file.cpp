#include "harness/io/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/open_file.h"

namespace quantref {

namespace {

// A mapping that signal handlers can find. `begin` is 0 in a free slot, and is the last to be set
// and the first to be cleared.
struct Slot {
  std::atomic<bool> taken{false};
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<const char*> path{nullptr};
  std::atomic<int> descriptor{-1};
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free);
static_assert(std::atomic<const char*>::is_always_lock_free);

// Mappings beyond so many are not found, and a fault in them keeps the system's own message.
constexpr size_t kSlots = 1024, kPage = 4096;
std::array<Slot, kSlots> slots;

size_t TakeSlot(std::span<const std::byte> bytes, const InputFile& file) {
  for (size_t i = 0; i < kSlots; ++i) {
    if (slots[i].taken.exchange(true)) continue;
    const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
    slots[i].end = begin + (bytes.size() + kPage - 1) / kPage * kPage;
    slots[i].path = file.path().c_str();
    slots[i].descriptor = file.descriptor();
    slots[i].begin = begin;
    return i;
  }
  return kSlots;
}

void GiveBackSlot(size_t slot) {
  if (slot >= kSlots) return;
  slots[slot].begin = 0;
  slots[slot].taken = false;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : file_(InputFile::Open(path)) {
  struct stat info {};
  if (::fstat(file_.descriptor(), &info) != 0) ThrowRead("cannot examine", path, errno);
  if (!S_ISREG(info.st_mode)) {
    throw Error("expected a regular file, found a device or pipe", path.string());
  }
  if (info.st_size == 0) throw Error("the file is empty", path.string());
  const auto size = static_cast<size_t>(info.st_size);
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file_.descriptor(), 0);
  if (address == MAP_FAILED) ThrowRead("cannot map into memory", path, errno);
  bytes_ = {static_cast<const std::byte*>(address), size};
  slot_ = TakeSlot(bytes_, file_);
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  GiveBackSlot(slot_);
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : file_(std::move(other.file_)),
      bytes_(std::exchange(other.bytes_, {})),
      slot_(std::exchange(other.slot_, kSlots)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(bytes_, other.bytes_);
  std::swap(slot_, other.slot_);
  return *this;
}

std::string MappedFile::Sha256() const {
  std::string sha256 = Sha256Hex(bytes_);
  file_.KeepHash(sha256);
  return sha256;
}

bool FindMappingFault(const void* address, MappingFault& fault) noexcept {
  const auto place = reinterpret_cast<uintptr_t>(address);
  for (const Slot& slot : slots) {
    const uintptr_t begin = slot.begin;
    if (begin == 0 || place < begin || place >= slot.end) continue;
    fault.path = slot.path;
    struct stat info {};
    fault.cut_short = ::fstat(slot.descriptor, &info) == 0 &&
                      static_cast<uintptr_t>(info.st_size) <= place - begin;
    return true;
  }
  return false;
}

}  // namespace quantref
