// Maps a file with Windows.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include "mapped_file.h"
#include "system/error.h"

namespace qwen3cpu::check {

MappedFile::MappedFile(const std::string& path) {
  const HANDLE file = CreateFileA(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  LARGE_INTEGER size;
  if (file == INVALID_HANDLE_VALUE || !GetFileSizeEx(file, &size)) throw Error("cannot open " + path);
  const HANDLE mapping = CreateFileMappingA(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  const void* p = mapping == nullptr ? nullptr : MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
  if (p == nullptr) throw Error("cannot map " + path);
  data_ = static_cast<const uint8_t*>(p);
  size_ = size.QuadPart;
}

}  // namespace qwen3cpu::check
