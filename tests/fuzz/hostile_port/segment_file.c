#include "segment_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chance.h"
#include "frame.h"
#include "terms.h"

enum {
  kContents = 1 << 20,  // bytes that are there in the port program's half
  kFirstHighFd = 100
};

static int file = -1;
static int is_shared;

static int sized_memory(int64_t size, int seals) {
  const int low = memfd_create("erlang_python", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const int fd = fcntl(low, F_DUPFD_CLOEXEC, kFirstHighFd);
  close(low);
  if (fd >= 0 && (ftruncate(fd, size) != 0 || (seals != 0 && fcntl(fd, F_ADD_SEALS, seals) != 0))) return -1;
  return fd;
}
static void write_contents(void) {
  static uint8_t contents[kContents];
  for (size_t at = 0; at < sizeof contents; at += 4096) contents[at] = (uint8_t)next();
  if (pwrite(file, contents, sizeof contents, PORTS_SEGMENTS) < 0) return;  // it has another size, or is sealed
}
// What is as it should be, but for its seals: a file in a directory of the disk that has no name there, too.
static int a_file(void) {
  switch (below(8)) {
    case 0:
      return sized_memory(SEGMENT_FILE_BYTES, 0);
    case 1:
      return sized_memory(SEGMENT_FILE_BYTES, F_SEAL_WRITE | F_SEAL_SHRINK);
    case 2: {
      const int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
      return fd >= 0 && ftruncate(fd, SEGMENT_FILE_BYTES) != 0 ? -1 : fd;
    }
    default:
      return sized_memory(SEGMENT_FILE_BYTES, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  }
}
static int no_file(void) {
  static const int64_t kSizes[] = {0, 1, 4096, PORTS_SEGMENTS, SEGMENT_FILE_BYTES - 1, SEGMENT_FILE_BYTES + 1};
  static const char* const kPaths[] = {"/", "/dev/null", "/dev/zero", "/proc/self/status", "/proc/self/mem"};
  switch (below(4)) {
    case 0:
      return (int)below(200);  // a pipe, or none
    case 1:
      return open(kPaths[below(sizeof kPaths / sizeof *kPaths)], O_RDONLY | O_CLOEXEC);
    case 2: {  // nobody may open it
      const int fd = sized_memory(SEGMENT_FILE_BYTES, 0);
      if (fd >= 0) fchmod(fd, 0);
      return fd;
    }
    default:
      return sized_memory(kSizes[below(sizeof kSizes / sizeof *kSizes)], one_in(2) ? F_SEAL_SHRINK : 0);
  }
}

int announce_segment_file(int lies) {
  header(17, 2);
  integer(lies && one_in(4) ? (int64_t)(one_in(2) ? getppid() : odd_integer()) : getpid());
  if (one_in(8)) {
    atom("none");
    send_frame();
    return 0;
  }
  file = lies && one_in(2) ? no_file() : a_file();
  write_contents();
  integer(lies && one_in(8) ? odd_integer() : file);
  send_frame();
  if (lies && one_in(4)) change_segment_file();  // before Erlang has looked, or while it does
  if (lies && one_in(16)) send_frame();
  return 1;
}

void segment_file_opened(int opened) { is_shared = opened; }
int is_memory_shared(void) { return is_shared; }

void change_segment_file(void) {
  static const int64_t kSizes[] = {
      0, 4096, PORTS_SEGMENTS, PORTS_SEGMENTS + 65536, SEGMENT_FILE_BYTES, SEGMENT_FILE_BYTES + 4096};
  int changed = 0;
  switch (below(6)) {
    case 0:
    case 1:
      changed = ftruncate(file, kSizes[below(sizeof kSizes / sizeof *kSizes)]);
      break;
    case 2:
      if (file > STDERR_FILENO) close(file);
      file = -1;
      break;
    case 3:
      changed =
          fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, one_in(2) ? 0 : PORTS_SEGMENTS, PORTS_SEGMENTS);
      break;
    case 4:
      changed = fcntl(file, F_ADD_SEALS, one_in(2) ? F_SEAL_WRITE : F_SEAL_SHRINK);
      break;
    default:
      write_contents();
  }
  (void)changed;  // seals forbid most of it
}
