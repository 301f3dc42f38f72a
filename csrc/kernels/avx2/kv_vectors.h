// Eight stored keys or values as floats, for each KV format, and the registers that hold them. Internal linkage.
#pragma once

#include "kernels/avx2/softmax.h"
#include "kernels/kv_block.h"

namespace qwen3cpu::avx2 {
namespace {

// The other members that kernels/kv_block.h needs.
struct KvSimd : Simd {
  static constexpr bool kFetchesAhead = true;
  static inline __attribute__((always_inline)) void fetch(const void* p, int bytes) { avx2::prefetch(p, bytes); }

  // 8 chains just hide a latency of 4 cycles at two a cycle; 12 leave some slack.
  template <int R>
  static constexpr int kChains = R == 4   ? 3
                                 : R == 2 ? 4
                                          : 8;

  static float soften(float* score, int count, SoftmaxState& state) { return avx2::soften(score, count, state); }
};

struct F32 {
  using Stored = float;
  using Simd = KvSimd;
  static constexpr bool kScaled = false;
  static __m256 load(const float* p) { return _mm256_loadu_ps(p); }
};

struct F16 {
  using Stored = uint16_t;
  using Simd = KvSimd;
  static constexpr bool kScaled = false;
  static __m256 load(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

struct Q8 {
  using Stored = int8_t;
  using Simd = KvSimd;
  static constexpr bool kScaled = true;
  static __m256 load(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
};

}  // namespace
}  // namespace qwen3cpu::avx2
