// What the products of both quantised formats share. Internal linkage.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "../token_runs.h"
#include "kernels.h"

namespace qwen3cpu::avxvnni {
namespace {

constexpr int kMaxTokens = 8;
constexpr int kPrefetch = 2048;  // bytes ahead, in tiles of so few tokens that memory may be what they wait for:
constexpr int kTokensToPrefetch = 4;

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// always_inline: GCC takes a function that only prefetches for one without effect and drops calls of it, silently.
QWEN3CPU_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p) + kPrefetch, _MM_HINT_T0); }

// sum + the products of one k-quad of 8 rows with the 4 activations at x.
inline __m256i add_products(__m256i sum, __m256i w, const int8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof(four));
  return _mm256_dpbusd_avx_epi32(sum, w, _mm256_set1_epi32(four));
}

// fma(float(sum), scale, acc)
inline __m256 add_scaled(__m256 acc, __m256i sum, __m256 scale) {
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, acc);
}

// int32 [tokens][groups] in scratch: factor * (sum of the activations), where a group's sums start.
inline void start_sums(const Tokens& x, int tokens, int groups, int factor, uint8_t* scratch) {
  auto* start = reinterpret_cast<int32_t*>(scratch);
  static_assert(kMaxTokens * sizeof(*start) <= 32 * kGroup, "matmul_scratch_bytes holds 32 bytes a column");
  for (int t = 0; t < tokens; ++t)
    for (int g = 0; g < groups; ++g) start[t * groups + g] = factor * x.sum[t * x.sums + g];
}

}  // namespace
}  // namespace qwen3cpu::avxvnni
