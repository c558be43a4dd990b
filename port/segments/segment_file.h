#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "base/file_identity.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "etf/segment_store.h"

namespace erlang_python {

/// An extent of the segment file in the address space of this process, as long as this is there.
class MappedExtent {
 public:
  MappedExtent(std::uint8_t* memory, std::size_t bytes) : memory_(memory), bytes_(bytes) {}
  ~MappedExtent();
  MappedExtent(const MappedExtent&) = delete;
  MappedExtent& operator=(const MappedExtent&) = delete;

  std::uint8_t* data() const { return memory_; }
  std::size_t size() const { return bytes_; }

 private:
  std::uint8_t* const memory_;
  const std::size_t bytes_;
};

/// Memory that Erlang and this process share: an anonymous file of a fixed size. Its size costs nothing; what was
/// written takes memory until it is discarded. It is gone with the last process that has it open. Any thread.
///
/// Extents are mapped one by one when they are first used, and stay so until they are discarded: a mapping of the whole
/// would be more than any limit on the address space that users set.
class SegmentFile {
 public:
  /// An error where the kernel has no memfd_create, or a limit on the size of files is lower.
  static Result<std::unique_ptr<SegmentFile>> create();
  SegmentFile(const SegmentFile&) = delete;
  SegmentFile& operator=(const SegmentFile&) = delete;

  /// The first part is for what Erlang writes, the second for what we write. Mirrored by erlang_src/py_protocol.hrl.
  static constexpr std::uint64_t kBytes = std::uint64_t{1} << 37;
  static constexpr std::uint64_t kOurs = kBytes / 2;

  int fd() const { return fd_.get(); }
  /// The extent in which this segment is. Null: the address space has no room, or Python code has closed the
  /// descriptor.
  std::shared_ptr<const MappedExtent> map(const Segment& segment);
  /// Gives its memory back to the kernel.
  void discard(const Segment& segment);
  /// Memory that the file takes; 0 when Python code has closed the descriptor.
  std::size_t stored_bytes() const;

 private:
  explicit SegmentFile(UniqueFd fd) : fd_(std::move(fd)), identity_(fd_.get()) {}

  std::shared_ptr<const MappedExtent> map_locked(const Segment& segment) REQUIRES(mu_);
  void unmap_unused() REQUIRES(mu_);

  const UniqueFd fd_;
  const FileIdentity identity_;

  Mutex mu_;
  /// By where they begin; an extent keeps its size.
  std::unordered_map<std::uint64_t, std::shared_ptr<const MappedExtent>> mapped_ GUARDED_BY(mu_);
};

}  // namespace erlang_python
