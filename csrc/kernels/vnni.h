// What the VPDPBUSD kernels of both quantised formats share. Internal linkage.
//
// A variant is a class of static functions on registers of whole row tiles, one 32-bit lane a row:
//   kTiles                  row tiles in a register; a second one lies `apart` bytes (of weights) from the first
//   Int, Float              the registers
//   load(p, apart)          one k-quad of every row
//   scales_q4(p, apart)     8 int8 a tile: the scale in the lower half of a lane, nothing in the upper one
//   scales_q8(p, apart)     8 f16 a tile, as floats
//   load_floats(p, apart)   8 floats a tile; apart in floats
//   store(y, apart, rows)   the same back; a second tile is absent when apart is 0
//   set1, zero, low_nibbles, high_nibbles, mul
//   add_products(sum, w, x) sum + the products of a k-quad with the activations x
//   add_scaled(dot, sum, s) dot + the lower half of sum times the lower half of s
//   fma(dot, scale, acc)    float(dot) * scale + acc
#pragma once

#include <immintrin.h>

#include <cstring>

#include "token_runs.h"

namespace qwen3cpu::vnni {
namespace {

constexpr int kMaxTokens = 8;
// Products of so few tokens that memory may be what they wait for fetch their weights ahead.
constexpr int kTokensToPrefetch = 4;

// Registers that are worked on side by side: up to four row tiles, as long as there are few sums.
template <class Rows>
constexpr int registers(int tokens) {
  const int most = 4 / Rows::kTiles, fitting = 4 / tokens;
  return fitting < 1 ? 1 : fitting < most ? fitting : most;
}

inline __m128i load8(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
inline __m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

inline int32_t four_bytes(const int8_t* p) {
  int32_t x;
  std::memcpy(&x, p, sizeof(x));
  return x;
}

// Fetches the lines of every tile of a register kAhead bytes ahead. always_inline: GCC takes a function that only
// prefetches for one without effect and drops calls of it, silently.
template <class Rows, int kAhead, _mm_hint kHint>
QWEN3CPU_INLINE void prefetch(const void* p, int64_t apart) {
  for (int i = 0; i < Rows::kTiles; ++i) _mm_prefetch(static_cast<const char*>(p) + i * apart + kAhead, kHint);
}

// int32 [tokens][groups] in scratch: factor * (sum of the activations), where a group's sums start.
inline const int32_t* start_sums(const Tokens& x, int tokens, int groups, int factor, uint8_t* scratch) {
  auto* start = reinterpret_cast<int32_t*>(scratch);
  static_assert(kMaxTokens * sizeof(*start) <= 32 * kGroup, "matmul_scratch_bytes holds 32 bytes a column");
  for (int t = 0; t < tokens; ++t)
    for (int g = 0; g < groups; ++g) start[t * groups + g] = factor * x.sum[t * x.sums + g];
  return start;
}

}  // namespace
}  // namespace qwen3cpu::vnni
