// Aligned memory, in huge pages where the system gives them.
#pragma once

#include <cstdint>

namespace qwen3cpu {

// 64-byte aligned (2 MiB aligned and advised to use huge pages from 2 MiB on). Throws std::bad_alloc.
void* allocate_aligned(int64_t bytes);
void free_aligned(void* p);

// Asks for huge pages behind an existing mapping; a hint, never an error.
void advise_huge_pages(const void* data, int64_t bytes);

}  // namespace qwen3cpu
