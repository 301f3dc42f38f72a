// Norm, rotation, activation function and quantisation of activations.
#include <cstddef>

#include "kernels/avx2/exp.h"
#include "kernels/avx2/quantize.h"
#include "kernels/choose_experts.h"

namespace qwen3cpu::avx2 {
namespace {

inline void store_some(float* p, int n, __m256 x) {
  if (n == kLanes) {
    _mm256_storeu_ps(p, x);
  } else {
    _mm256_maskstore_ps(p, first_lanes(n), x);
  }
}

// 32 values of which the first n exist, times `inverse`, as int8.
inline __m256i quantize_group(const float* x, int n, __m256 inverse) {
  __m256i q[4];
  for (int i = 0; i < 4; ++i) {
    const int some = n - i * kLanes;
    const __m256 v = some <= 0 ? _mm256_setzero_ps() : load_some(x + i * kLanes, some < kLanes ? some : kLanes);
    q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse));
  }
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));  // undo the packs' interleaving
}

inline int16_t sum_group(__m256i q) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
  const __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return static_cast<int16_t>(_mm_cvtsi128_si32(four));
}

// Quantises x[0, n), n <= 256, padded to whole groups, with one scale, which it returns.
inline float quantize_block(const float* x, int n, int8_t* q, int16_t* sum) {
  const BlockScale block = block_scale(greatest_magnitude(x, n));
  for (int i = 0; i < n; i += kGroup) {
    const __m256i group =
        block.inverse == 0.0f ? _mm256_setzero_si256() : quantize_group(x + i, n - i, _mm256_set1_ps(block.inverse));
    store(q + i, group);
    sum[i / kGroup] = sum_group(group);
  }
  return block.scale;
}

inline void quantize(const float* x, int cols, int block, int8_t* q, float* scale, int16_t* sum) {
  for (int first = 0; first < cols; first += block) {
    const int n = cols - first < block ? cols - first : block;
    scale[first / block] = quantize_block(x + first, n, q + first, sum + first / kGroup);
  }
}

}  // namespace

void ops::rms_norm(const float* x, const float* weight, float eps, int n, float* out) {
  __m256 squares = _mm256_setzero_ps();
  for_vectors(n, [&](int i, int some) {
    const __m256 v = load_some(x + i, some);
    squares = _mm256_fmadd_ps(v, v, squares);
  });
  const float root = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(sum_lanes(squares) / static_cast<float>(n) + eps)));
  const __m256 rsqrt = _mm256_set1_ps(1.0f / root);
  for_vectors(n, [&](int i, int some) {
    store_some(out + i, some, _mm256_mul_ps(_mm256_mul_ps(load_some(x + i, some), rsqrt), load_some(weight + i, some)));
  });
}

void ops::rope(float* x, const float* cos, const float* sin, int half) {
  for_vectors(half, [&](int i, int some) {
    const __m256 a = load_some(x + i, some), b = load_some(x + half + i, some);
    const __m256 c = load_some(cos + i, some), s = load_some(sin + i, some);
    store_some(x + i, some, _mm256_fnmadd_ps(b, s, _mm256_mul_ps(a, c)));
    store_some(x + half + i, some, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
  });
}

void ops::silu_mul(const float* gate, const float* up, int n, float* out) {
  const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
  for_vectors(n, [&](int i, int some) {
    const __m256 g = load_some(gate + i, some);
    const __m256 silu = _mm256_div_ps(g, _mm256_add_ps(one, exponential(_mm256_xor_ps(g, sign))));
    store_some(out + i, some, _mm256_mul_ps(silu, load_some(up + i, some)));
  });
}

void ops::add(const float* x, const float* factor, int n, float* y) {
  for_vectors(n, [&](int i, int some) {
    const __m256 sum = _mm256_add_ps(load_some(y + i, some), load_some(x + i, some));
    store_some(y + i, some, factor == nullptr ? sum : _mm256_mul_ps(sum, load_some(factor + i, some)));
  });
}

void ops::add_scaled(const float* x, float scale, int n, float* y) {
  const __m256 factor = _mm256_set1_ps(scale);
  for_vectors(n, [&](int i, int some) {
    store_some(y + i, some, _mm256_fmadd_ps(factor, load_some(x + i, some), load_some(y + i, some)));
  });
}

void ops::route(const float* logits, int experts, int k, bool normalised, int* chosen, float* weight) {
  const float largest = choose_experts(logits, experts, k, chosen);
  const __m256 top = _mm256_set1_ps(largest);
  __m256 total = _mm256_setzero_ps();
  for_vectors(experts, [&](int i, int some) {
    const __m256 e = exponential(_mm256_sub_ps(load_some(logits + i, some), top));
    total = _mm256_add_ps(total, _mm256_and_ps(e, _mm256_castsi256_ps(first_lanes(some))));
  });
  const float sum = sum_lanes(total);
  for (int j = 0; j < k; ++j) weight[j] = exponential(logits[chosen[j]] - largest) / sum;
  weigh_experts(normalised, k, weight);
}

void ops::quantize_i8g32(const float* x, int cols, int, int8_t* q, float* scale, int16_t* sum) {
  quantize(x, cols, 32, q, scale, sum);
}

void ops::quantize_i8g256(const float* x, int cols, int, int8_t* q, float* scale, int16_t* sum) {
  quantize(x, cols, 256, q, scale, sum);
}

}  // namespace qwen3cpu::avx2
