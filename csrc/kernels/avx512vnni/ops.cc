// The activation function, additions and quantisation of activations, 16 lanes wide.
#include "kernels/avx512vnni/exp.h"
#include "kernels/avx512vnni/kernels.h"
#include "kernels/avx512vnni/lanes.h"
#include "kernels/block_scale.h"

namespace qwen3cpu::avx512vnni {
namespace {

// Calls body(i, lanes) for every register of n floats, the last of which may be part of one.
template <class Body>
inline void for_registers(int n, Body&& body) {
  int i = 0;
  for (; i + kWide <= n; i += kWide) body(i, first_lanes(kWide));
  if (i < n) body(i, first_lanes(n - i));
}

// The exponential for any x. minps returns its second operand when one is NaN.
inline __m512 exponential_of_any(__m512 x) { return exponential(_mm512_min_ps(_mm512_set1_ps(kExpMax), x)); }

// 32 values of which the first n exist; the others are 0.
struct Group {
  __m512 low, high;

  Group(const float* x, int n) {
    if (n >= kGroup) {
      low = _mm512_loadu_ps(x);
      high = _mm512_loadu_ps(x + kWide);
    } else {
      const uint32_t lanes = (1u << n) - 1;
      low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), x);
      high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes >> kWide), x + kWide);
    }
  }

  // The greater magnitude of each pair of values, as bits: in integer order a NaN is above infinity.
  __m512i magnitudes() const {
    const __m512i all_but_sign = _mm512_set1_epi32(0x7fffffff);
    return _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(low), all_but_sign),
                            _mm512_and_si512(_mm512_castps_si512(high), all_but_sign));
  }

  __m256i rounded(__m512 inverse) const {
    const auto bytes = [&](__m512 x) { return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse))); };
    return _mm256_set_m128i(bytes(high), bytes(low));
  }
};

// The sum of 32 bytes. sad adds unsigned bytes, so 128 is added to each first.
inline int16_t sum_group(__m256i q) {
  const __m256i eights = _mm256_sad_epu8(_mm256_xor_si256(q, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
  const __m128i two = _mm_add_epi32(_mm256_castsi256_si128(eights), _mm256_extracti128_si256(eights, 1));
  return static_cast<int16_t>(_mm_cvtsi128_si32(_mm_add_epi32(two, _mm_unpackhi_epi64(two, two))) - 32 * 128);
}

// Blocks of kTogether groups share a scale.
template <int kTogether>
inline void quantize(const float* x, int cols, int8_t* q, float* scale, int16_t* sum) {
  for (int first = 0; first < cols; first += kTogether * kGroup) {
    const int left = cols - first, end = left < kTogether * kGroup ? cols : first + kTogether * kGroup;
    __m512i greatest = _mm512_setzero_si512();
    for (int i = first; i < end; i += kGroup) greatest = _mm512_max_epi32(greatest, Group(x + i, end - i).magnitudes());
    const BlockScale found = block_scale(static_cast<uint32_t>(_mm512_reduce_max_epi32(greatest)));
    for (int i = first; i < end; i += kGroup) {
      const __m256i group =
          found.inverse == 0.0f ? _mm256_setzero_si256() : Group(x + i, end - i).rounded(_mm512_set1_ps(found.inverse));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i), group);
      sum[i / kGroup] = sum_group(group);
    }
    *scale++ = found.scale;
  }
}

}  // namespace

void ops::silu_mul(const float* gate, const float* up, int n, float* out) {
  const __m512 one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f);
  for_registers(n, [&](int i, __mmask16 lanes) {
    const __m512 g = _mm512_maskz_loadu_ps(lanes, gate + i);
    const __m512 silu = _mm512_div_ps(g, _mm512_add_ps(one, exponential_of_any(_mm512_xor_ps(g, sign))));
    _mm512_mask_storeu_ps(out + i, lanes, _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(lanes, up + i)));
  });
}

void ops::add(const float* x, const float* factor, int n, float* y) {
  for_registers(n, [&](int i, __mmask16 lanes) {
    const __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, y + i), _mm512_maskz_loadu_ps(lanes, x + i));
    _mm512_mask_storeu_ps(y + i, lanes,
                          factor == nullptr ? sum : _mm512_mul_ps(sum, _mm512_maskz_loadu_ps(lanes, factor + i)));
  });
}

void ops::quantize_i8g32(const float* x, int cols, int, int8_t* q, float* scale, int16_t* sum) {
  quantize<1>(x, cols, q, scale, sum);
}

void ops::quantize_i8g256(const float* x, int cols, int, int8_t* q, float* scale, int16_t* sum) {
  quantize<8>(x, cols, q, scale, sum);
}

}  // namespace qwen3cpu::avx512vnni
