// Maps a file with POSIX.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mapped_file.h"
#include "system/error.h"

namespace qwen3cpu::check {

MappedFile::MappedFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0) throw Error("cannot open " + path);
  void* p = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (p == MAP_FAILED) throw Error("cannot map " + path);
  data_ = static_cast<const uint8_t*>(p);
  size_ = status.st_size;
}

}  // namespace qwen3cpu::check
