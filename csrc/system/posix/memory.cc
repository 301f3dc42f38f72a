// Aligned allocation and page advice.
#include "system/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>

namespace qwen3cpu {
namespace {
constexpr int64_t kHugePage = int64_t{2} << 20;
#if defined(__linux__)
constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ of Linux 5.14, which older headers lack
#endif
}  // namespace

void* allocate_aligned(int64_t bytes) {
  const int64_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const int64_t padded = (bytes + alignment - 1) / alignment * alignment;
  void* p = nullptr;
  if (posix_memalign(&p, static_cast<size_t>(alignment), static_cast<size_t>(padded > 0 ? padded : alignment)) != 0)
    throw std::bad_alloc();
  // `bytes` without the padding, which would become resident with its huge page: for a block of the KV cache of 7 MiB,
  // 1 MiB.
  if (alignment == kHugePage) advise_huge_pages(p, bytes);
  return p;
}

void free_aligned(void* p) { std::free(p); }

void advise_huge_pages(const void* data, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
  const auto page = int64_t{4096};
  const auto begin = (reinterpret_cast<int64_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<int64_t>(data) + bytes) / page * page;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), static_cast<size_t>(end - begin), MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

void will_need(const void* data, int64_t bytes) {
  const auto page = static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<int64_t>(data) / page * page;
  const auto end = reinterpret_cast<int64_t>(data) + bytes;
  madvise(reinterpret_cast<void*>(begin), static_cast<size_t>(end - begin), MADV_WILLNEED);
}

void touch_pages(const void* data, int64_t bytes) {
  if (bytes <= 0) return;
  const auto page = int64_t{sysconf(_SC_PAGESIZE)};
#if defined(__linux__)
  const auto begin = reinterpret_cast<int64_t>(data) / page * page;
  const auto size = static_cast<size_t>(reinterpret_cast<int64_t>(data) + bytes - begin);
  // Takes two thirds of the time of reading a byte of each page, and raises no SIGBUS when a file has become shorter.
  if (madvise(reinterpret_cast<void*>(begin), size, kPopulateRead) == 0 || errno != EINVAL) return;
#endif
  const auto* bytes_of = static_cast<const volatile uint8_t*>(data);
  for (int64_t i = 0; i < bytes; i += page) (void)bytes_of[i];
  (void)bytes_of[bytes - 1];
}

}  // namespace qwen3cpu
