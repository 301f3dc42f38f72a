// Aligned memory, in huge pages where the system provides them.
#pragma once

#include <cstdint>

namespace qwen3cpu {

// 64-byte aligned (2 MiB aligned and advised to use huge pages from 2 MiB on). Throws std::bad_alloc.
void* allocate_aligned(int64_t bytes);
void free_aligned(void* p);

// Asks for huge pages behind an existing mapping; a hint, never an error.
void advise_huge_pages(const void* data, int64_t bytes);

// Starts reading mapped memory that is only on disk, without waiting for it.
void will_need(const void* data, int64_t bytes);

// Adds mapped memory to this process's page tables, after reading it from disk if needed, so that computing with it
// does not stop at every page. Memory that several processes map stays shared.
void touch_pages(const void* data, int64_t bytes);

}  // namespace qwen3cpu
