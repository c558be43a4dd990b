#pragma once

#include <sys/stat.h>

namespace erlang_python {

/// What a descriptor refers to. Code in the same process may close a descriptor or put another file in its place.
class FileIdentity {
 public:
  explicit FileIdentity(int fd) : fd_(fd), valid_(fstat(fd, &file_) == 0) {}

  /// False when the descriptor was closed since, or refers to another file.
  bool holds() const {
    struct stat now = {};
    return valid_ && fstat(fd_, &now) == 0 && now.st_dev == file_.st_dev && now.st_ino == file_.st_ino;
  }

 private:
  const int fd_;
  struct stat file_ = {};
  const bool valid_;
};

}  // namespace erlang_python
