// Aligned allocation and page advice of Windows.
#include "system/memory.h"

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <malloc.h>
#include <windows.h>

#include <new>

namespace qwen3cpu {
namespace {

constexpr int64_t kLargePage = int64_t{2} << 20;

// Turns on the right to lock pages in memory, which large pages require. The account must have this right.
bool turn_on_large_pages() {
  if (GetLargePageMinimum() != static_cast<SIZE_T>(kLargePage)) return false;
  HANDLE token = nullptr;
  if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token)) return false;
  TOKEN_PRIVILEGES right{};
  right.PrivilegeCount = 1;
  right.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
  // AdjustTokenPrivileges also succeeds when it has not turned the right on, so GetLastError is checked too.
  const bool on = LookupPrivilegeValueA(nullptr, "SeLockMemoryPrivilege", &right.Privileges[0].Luid) &&
                  AdjustTokenPrivileges(token, FALSE, &right, 0, nullptr, nullptr) && GetLastError() == ERROR_SUCCESS;
  CloseHandle(token);
  return on;
}

// Returns null where large pages are off or none are left.
void* allocate_large_pages(int64_t bytes) {
  static const bool on = turn_on_large_pages();
  if (!on || bytes < kLargePage) return nullptr;
  const int64_t padded = (bytes + kLargePage - 1) / kLargePage * kLargePage;
  return VirtualAlloc(nullptr, static_cast<SIZE_T>(padded), MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES, PAGE_READWRITE);
}

int64_t page_size() {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return int64_t{info.dwPageSize};
}

}  // namespace

void* allocate_aligned(int64_t bytes) {
  void* p = allocate_large_pages(bytes);
  if (p == nullptr)
    p = _aligned_malloc(static_cast<size_t>(bytes > 0 ? bytes : 1), bytes >= kLargePage ? kLargePage : 64);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

void free_aligned(void* p) {
  if (p == nullptr) return;
  // Large pages begin their region. Blocks of _aligned_malloc never do, because its own data comes before them.
  MEMORY_BASIC_INFORMATION region;
  if (VirtualQuery(p, &region, sizeof(region)) != 0 && region.AllocationBase == p) {
    VirtualFree(p, 0, MEM_RELEASE);
  } else {
    _aligned_free(p);
  }
}

void advise_huge_pages(const void*, int64_t) {}  // not possible for an existing mapping

void will_need(const void* data, int64_t bytes) {
  WIN32_MEMORY_RANGE_ENTRY range{const_cast<void*>(data), static_cast<SIZE_T>(bytes)};
  PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);
}

void touch_pages(const void* data, int64_t bytes) {
  if (bytes <= 0) return;
  will_need(data, bytes);
  const int64_t page = page_size();
  const auto* bytes_of = static_cast<const volatile uint8_t*>(data);
  for (int64_t i = 0; i < bytes; i += page) (void)bytes_of[i];
  (void)bytes_of[bytes - 1];
}

}  // namespace qwen3cpu
