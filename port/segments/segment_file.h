#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/file_identity.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "etf/segment_store.h"

namespace erlang_python {

/// Memory that Erlang and this process share: an anonymous file of a fixed size, mapped as a whole. Its size costs
/// nothing; what was written takes memory until it is discarded. It is gone with the last process that has it open.
class SegmentFile {
 public:
  /// An error where the kernel has no memfd_create, or no room in the address space.
  static Result<std::unique_ptr<SegmentFile>> create();
  ~SegmentFile();
  SegmentFile(const SegmentFile&) = delete;
  SegmentFile& operator=(const SegmentFile&) = delete;

  /// The first part is for what Erlang writes, the second for what we write. Mirrored by erlang_src/py_protocol.hrl.
  static constexpr std::uint64_t kBytes = std::uint64_t{1} << 37;
  static constexpr std::uint64_t kOurs = kBytes / 2;

  int fd() const { return fd_.get(); }
  std::uint8_t* at(std::uint64_t offset) const { return memory_ + offset; }
  void discard(const Segment& segment) const;
  /// Memory that the file takes; 0 when Python code has closed the descriptor.
  std::size_t stored_bytes() const;

 private:
  SegmentFile(UniqueFd fd, std::uint8_t* memory) : fd_(std::move(fd)), identity_(fd_.get()), memory_(memory) {}

  const UniqueFd fd_;
  const FileIdentity identity_;
  std::uint8_t* const memory_;
};

}  // namespace erlang_python
