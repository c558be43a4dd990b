#include "segments/segment_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

#if defined(__linux__)
#include <unistd.h>
#endif

namespace erlang_python {

#if defined(__linux__)

namespace {

constexpr std::size_t kPageBytes = 4096;
// Out of the way of programs that close or count the lowest descriptors.
constexpr int kFirstHighFd = 100;

// Since Linux 6.3: nobody can execute what is written there. Some systems refuse files without it.
#ifndef MFD_NOEXEC_SEAL
constexpr unsigned MFD_NOEXEC_SEAL = 8;
#endif

UniqueFd create_memory() {
  UniqueFd fd(memfd_create("erlang_python", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL));
  if (fd.get() >= 0 || errno != EINVAL) return fd;
  return UniqueFd(memfd_create("erlang_python", MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

}  // namespace

MappedExtent::~MappedExtent() { munmap(memory_, bytes_); }

Result<std::unique_ptr<SegmentFile>> SegmentFile::create() {
  const auto failed = [](const char* what) { return Error{std::string(what) + ": " + std::strerror(errno)}; };
  const UniqueFd low = create_memory();
  if (low.get() < 0) return failed("memfd_create");
  UniqueFd fd(fcntl(low.get(), F_DUPFD_CLOEXEC, kFirstHighFd));
  if (fd.get() < 0) return failed("F_DUPFD_CLOEXEC");
  if (ftruncate(fd.get(), static_cast<off_t>(kBytes)) != 0) return failed("ftruncate");
  // From now on nobody can make it shorter, which Erlang would meet while it reads, or longer.
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return failed("F_ADD_SEALS");
  return std::unique_ptr<SegmentFile>(new SegmentFile(std::move(fd)));
}

std::shared_ptr<const MappedExtent> SegmentFile::map(const Segment& segment) {
  const MutexLock lock(mu_);
  if (auto mapped = map_locked(segment)) return mapped;
  unmap_unused();
  return map_locked(segment);
}

std::shared_ptr<const MappedExtent> SegmentFile::map_locked(const Segment& segment) {
  auto& mapped = mapped_[segment.offset];
  if (mapped && mapped->size() >= segment.bytes) return mapped;
  // The whole extent (Extents, py_extents), so that it serves the next value there too.
  const std::size_t bytes = std::bit_ceil(std::max<std::size_t>(segment.bytes, kPageBytes));
  void* memory = MAP_FAILED;
  if (identity_.holds()) {
    memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(),
                  static_cast<off_t>(segment.offset));
  }
  if (memory == MAP_FAILED) {
    mapped_.erase(segment.offset);
    return nullptr;
  }
  madvise(memory, bytes, MADV_DONTDUMP);
  mapped = std::make_shared<const MappedExtent>(static_cast<std::uint8_t*>(memory), bytes);
  return mapped;
}

void SegmentFile::unmap_unused() {
  std::erase_if(mapped_, [](const auto& entry) { return entry.second.use_count() == 1; });
}

void SegmentFile::discard(const Segment& segment) {
  // Not by the descriptor: Python code may have closed it, and another file may have its number.
  const auto extent = map(segment);
  if (!extent) return;
  madvise(extent->data(), segment.bytes, MADV_REMOVE);
  const MutexLock lock(mu_);
  mapped_.erase(segment.offset);
}

std::size_t SegmentFile::stored_bytes() const {
  constexpr std::size_t kBlockBytes = 512;
  struct stat info {};
  return identity_.holds() && fstat(fd_.get(), &info) == 0 ? static_cast<std::size_t>(info.st_blocks) * kBlockBytes : 0;
}

#else

Result<std::unique_ptr<SegmentFile>> SegmentFile::create() { return Error{"no memfd_create on this system"}; }
MappedExtent::~MappedExtent() = default;
std::shared_ptr<const MappedExtent> SegmentFile::map(const Segment&) { return nullptr; }
void SegmentFile::discard(const Segment&) {}
std::size_t SegmentFile::stored_bytes() const { return 0; }

#endif

}  // namespace erlang_python
