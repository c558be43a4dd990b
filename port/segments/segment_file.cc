#include "segments/segment_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>

#if defined(__linux__)
#include <unistd.h>
#endif

namespace erlang_python {

#if defined(__linux__)

Result<std::unique_ptr<SegmentFile>> SegmentFile::create() {
  const auto failed = [](const char* what) { return Error{std::string(what) + ": " + std::strerror(errno)}; };
  UniqueFd fd(memfd_create("erlang_python", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd.get() < 0) return failed("memfd_create");
  if (ftruncate(fd.get(), static_cast<off_t>(kBytes)) != 0) return failed("ftruncate");
  // From now on nobody can make it shorter, which Erlang would meet while it reads, or longer.
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return failed("F_ADD_SEALS");
  void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (memory == MAP_FAILED) return failed("mmap");
  madvise(memory, kBytes, MADV_DONTDUMP);
  return std::unique_ptr<SegmentFile>(new SegmentFile(std::move(fd), static_cast<std::uint8_t*>(memory)));
}

SegmentFile::~SegmentFile() { munmap(memory_, kBytes); }

void SegmentFile::discard(const Segment& segment) const {
  // Not by the descriptor: Python code may have closed it, and another file may have its number.
  madvise(memory_ + segment.offset, segment.bytes, MADV_REMOVE);
}

std::size_t SegmentFile::stored_bytes() const {
  constexpr std::size_t kBlockBytes = 512;
  struct stat info {};
  return identity_.holds() && fstat(fd_.get(), &info) == 0 ? static_cast<std::size_t>(info.st_blocks) * kBlockBytes : 0;
}

#else

Result<std::unique_ptr<SegmentFile>> SegmentFile::create() { return Error{"no memfd_create on this system"}; }
SegmentFile::~SegmentFile() = default;
void SegmentFile::discard(const Segment&) const {}
std::size_t SegmentFile::stored_bytes() const { return 0; }

#endif

}  // namespace erlang_python
