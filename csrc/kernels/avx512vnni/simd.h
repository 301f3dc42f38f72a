// What the two quantised formats share: how 64 bytes of a row tile meet the activations. Internal linkage.
//
// A register of weights is two k-quads of 8 rows, [2 quads][8 rows][4 k]; its dot product with [x of the first quad, 8
// times][x of the second, 8 times] leaves two halves of the same 8 rows, which are added at the end.
#pragma once

#include <immintrin.h>

#include "kernels.h"

namespace qwen3cpu::avx512vnni {
namespace {

constexpr int kMaxTokens = 8;
constexpr int kFewTokens = 3;    // below this memory is what is waited for, and AVX2's pairs of tiles read it faster
constexpr int kPrefetch = 1024;  // bytes ahead, in tiles of so few tokens that memory may still be it:
constexpr int kTokensToPrefetch = 4;

inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p) + kPrefetch, _MM_HINT_T0); }

// The 32 activations of a group, ready to be spread.
inline __m512i load_group(const int8_t* x) {
  return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}

// [quad, 8 times][quad + 1, 8 times] of a group.
template <int Quad>
inline __m512i spread(__m512i group) {
  const __m512i lanes = _mm512_inserti64x4(_mm512_set1_epi32(Quad), _mm256_set1_epi32(Quad + 1), 1);
  return _mm512_permutexvar_epi32(lanes, group);
}

// x in the first 8 lanes, 0 in the others: what the sum of both halves starts from.
inline __m512i start_first_half(int32_t x) { return _mm512_maskz_set1_epi32(0x00ff, x); }

inline __m256i add_halves(__m512i x) {
  return _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
}

}  // namespace
}  // namespace qwen3cpu::avx512vnni
