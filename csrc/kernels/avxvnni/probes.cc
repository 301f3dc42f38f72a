// The peak of VPDPBUSD.
#include <immintrin.h>

#include "kernels.h"

namespace qwen3cpu::avxvnni {

int64_t probe_int8(int64_t rounds) {
  constexpr int chains = 12;  // a latency of 5 at two a cycle, with room for operands in 16 registers
  const auto escape = [](__m256i& in_register) { asm volatile("" : "+x"(in_register)); };
  __m256i acc[chains];
#pragma GCC unroll 12
  for (__m256i& a : acc) a = _mm256_setzero_si256();
  __m256i w = _mm256_set1_epi8(3), x = _mm256_set1_epi8(-2);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (__m256i& a : acc) {
      escape(w);
      escape(x);
      a = _mm256_dpbusd_avx_epi32(a, w, x);
      escape(a);
    }
  return rounds * chains * 32;
}

}  // namespace qwen3cpu::avxvnni
