// Eight stored keys or values as floats, for each KV format, and the scales of positions. Internal linkage.
#pragma once

#include "kernels/avx2/simd.h"

namespace qwen3cpu::avx2 {
namespace {

struct F32 {
  using Stored = float;
  static constexpr bool kScaled = false;
  static __m256 load(const float* p) { return _mm256_loadu_ps(p); }
};

struct F16 {
  using Stored = uint16_t;
  static constexpr bool kScaled = false;
  static __m256 load(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

struct Q8 {
  using Stored = int8_t;
  static constexpr bool kScaled = true;
  static __m256 load(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
};

// Multiplies x[p] by the scale of position p, in the vectors that hold any of `count` positions, where the format has
// scales: they stand behind the plane's data.
template <class Kv>
inline void scale_positions(const typename Kv::Stored* plane, int count, int dim, float* x) {
  if constexpr (Kv::kScaled) {
    const auto* scales = reinterpret_cast<const float*>(plane + int64_t{kKvBlock} * dim);
    for (int p = 0; p < count; p += kLanes)
      _mm256_storeu_ps(x + p, _mm256_mul_ps(_mm256_loadu_ps(x + p), _mm256_loadu_ps(scales + p)));
  }
}

}  // namespace
}  // namespace qwen3cpu::avx2
