// Peaks of the instructions that the kernels are made of, and of plain reading.
#include "kernels/avx2/simd.h"

namespace qwen3cpu::avx2 {
namespace {

// Latency 4 or 5 times two a cycle, with room for operands in 16 registers. Loops over them are unrolled, or GCC 12
// keeps the sums in memory.
constexpr int kChains = 12;

template <class T>
inline void escape(T& in_register) {
  asm volatile("" : "+x"(in_register));
}

}  // namespace

int64_t probes::fp32(int64_t rounds) {
  __m256 acc[kChains];
#pragma GCC unroll 12
  for (auto& a : acc) a = _mm256_setzero_ps();
  __m256 w = _mm256_set1_ps(1.0f), x = _mm256_set1_ps(0.5f);
  escape(w);
  escape(x);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (auto& a : acc) {
      a = _mm256_fmadd_ps(w, x, a);
      escape(a);
    }
  return rounds * kChains * 8;
}

int64_t probes::int8(int64_t rounds) {
  __m256i acc[kChains];
#pragma GCC unroll 12
  for (auto& a : acc) a = _mm256_setzero_si256();
  __m256i w = _mm256_set1_epi8(3), x = _mm256_set1_epi8(-2), ones = _mm256_set1_epi16(1);
  escape(ones);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (auto& a : acc) {
      escape(w);
      escape(x);
      a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones));
      escape(a);
    }
  return rounds * kChains * 32;
}

// One line a step, fetched 2 KiB ahead: of all ways that were tried this reads most (one core of a Sapphire Rapids 20
// GB/s; four lines a step 19, without fetching ahead 15).
int64_t probes::read(const uint8_t* data, int64_t bytes) {
  __m256i low = _mm256_setzero_si256(), high = low;
#pragma GCC unroll 1
  for (int64_t i = 0; i + kCacheLine <= bytes; i += kCacheLine) {
    prefetch(data + i, 2048);
    low = _mm256_or_si256(low, load(data + i));
    high = _mm256_or_si256(high, load(data + i + 32));
  }
  escape(low);
  escape(high);
  return bytes / kCacheLine * kCacheLine;
}

}  // namespace qwen3cpu::avx2
