// Sixteen stored keys or values as floats, for each KV format. Internal linkage.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/kv_vectors.h"
#include "kernels/avx512vnni/softmax.h"

namespace qwen3cpu::avx512vnni {
namespace {

// Keeps x in a register here, as avx2::pin. Otherwise GCC 12 folds the load into each use and spills the sums.
inline void pin(__m512& x) { asm("" : "+v"(x)); }

inline __m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

// load_wide: sixteen neighbours. load_two: eight neighbours at p and eight at `apart` values further on.

struct F32 : avx2::F32 {
  static __m512 load_wide(const float* p) { return _mm512_loadu_ps(p); }
  static __m512 load_two(const float* p, int64_t apart) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p)), _mm256_loadu_ps(p + apart), 1);
  }
};

struct F16 : avx2::F16 {
  static __m512 load_wide(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static __m512 load_two(const uint16_t* p, int64_t apart) {
    return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(load16(p)), load16(p + apart), 1));
  }
};

struct Q8 : avx2::Q8 {
  static __m512 floats(__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)); }
  static __m512 load_wide(const int8_t* p) { return floats(load16(p)); }
  static __m512 load_two(const int8_t* p, int64_t apart) {
    const __m128i first = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return floats(_mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(first), reinterpret_cast<const __m64*>(p + apart))));
  }
};

// All 16 values at p, or the first 8: head dimensions are multiples of 8.
template <class Kv, bool Whole>
inline __m512 load_values(const typename Kv::Stored* p) {
  return Whole ? Kv::load_wide(p) : _mm512_zextps256_ps512(Kv::load(p));
}

template <bool Whole>
inline void store_floats(float* p, __m512 x) {
  if (Whole)
    _mm512_storeu_ps(p, x);
  else
    _mm256_storeu_ps(p, _mm512_castps512_ps256(x));
}

}  // namespace
}  // namespace qwen3cpu::avx512vnni
