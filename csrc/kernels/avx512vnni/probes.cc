// The peak of VPDPBUSD in 512 bits.
#include <immintrin.h>

#include "kernels.h"

namespace qwen3cpu::avx512vnni {

int64_t probe_int8(int64_t rounds) {
  constexpr int chains = 12;  // a latency of 5 at two a cycle
  const auto escape = [](__m512i& in_register) { asm volatile("" : "+v"(in_register)); };
  __m512i acc[chains];
#pragma GCC unroll 12
  for (__m512i& a : acc) a = _mm512_setzero_si512();
  __m512i w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(-2);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (__m512i& a : acc) {
      escape(w);
      escape(x);
      a = _mm512_dpbusd_epi32(a, w, x);
      escape(a);
    }
  return rounds * chains * 64;
}

}  // namespace qwen3cpu::avx512vnni
