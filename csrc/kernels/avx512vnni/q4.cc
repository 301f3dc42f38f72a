// q4 weights times int8 activations: one row tile against up to 8 tokens, nibbles unpacked in registers.
//
// A group's sums fit int16, so that one dot product of int16 pairs (sum, 0) x (scale, 0) scales and adds them. Per lane
// of the first half, q being a nibble and A and B the k of both halves:
//   sum_A q x - 8 sum_AB x = sum_A (q - 8) x - 8 sum_B x, at most 16 * 8 * 127 + 8 * 16 * 127 = 32,512
// and of the second half sum_B q x, at most 16 * 15 * 127 = 30,480; on its way either stays far below what int32 holds.
#include "simd.h"

namespace qwen3cpu::avx512vnni {
namespace {

struct Tokens {
  const int8_t* q;  // [T][stride]
  const float* scale;
  const int16_t* sum;
  int stride, scales, sums;
};

// A group's 8 scales as int16 pairs (scale, 0) in the lanes of both halves.
inline __m512i scale_pairs(const int8_t* scales) {
  alignas(64) static constexpr int8_t kUpperByte[64] = {
      -1, 0,  -1, -1, -1, 1,  -1, -1, -1, 2,  -1, -1, -1, 3,  -1, -1, -1, 4,  -1, -1, -1, 5,
      -1, -1, -1, 6,  -1, -1, -1, 7,  -1, -1, -1, 0,  -1, -1, -1, 1,  -1, -1, -1, 2,  -1, -1,
      -1, 3,  -1, -1, -1, 4,  -1, -1, -1, 5,  -1, -1, -1, 6,  -1, -1, -1, 7,  -1, -1,
  };
  int64_t eight;
  __builtin_memcpy(&eight, scales, sizeof(eight));
  return _mm512_srai_epi16(_mm512_shuffle_epi8(_mm512_set1_epi64(eight), load(kUpperByte)), 8);
}

// dot[t] += scale * sum of (nibble - 8) * x_t over one group.
template <int T>
inline __attribute__((always_inline)) void add_group(const uint8_t* nibbles, __m512i scale, const int8_t* x,
                                                     const int16_t* sum, int stride, int sums, __m512i (&dot)[T]) {
  const __m512i low_bits = _mm512_set1_epi8(15);
  const __m512i a = load(nibbles), b = load(nibbles + 64);
  const __m512i q01 = _mm512_and_si512(a, low_bits), q45 = _mm512_and_si512(_mm512_srli_epi16(a, 4), low_bits);
  const __m512i q23 = _mm512_and_si512(b, low_bits), q67 = _mm512_and_si512(_mm512_srli_epi16(b, 4), low_bits);
  for (int t = 0; t < T; ++t) {
    const __m512i group = load_group(x + int64_t{t} * stride);
    __m512i acc = start_first_half(-8 * sum[int64_t{t} * sums]);
    acc = _mm512_dpbusd_epi32(acc, q01, spread<0>(group));
    acc = _mm512_dpbusd_epi32(acc, q23, spread<2>(group));
    acc = _mm512_dpbusd_epi32(acc, q45, spread<4>(group));
    acc = _mm512_dpbusd_epi32(acc, q67, spread<6>(group));
    dot[t] = _mm512_dpwssd_epi32(dot[t], acc, scale);
  }
}

// acc[t] = fma(float(dot), scale_x[b], acc[t]) for block b.
template <int T>
inline __attribute__((always_inline)) void multiply_block(const Q4Block& block, int groups, const Tokens& x, int b,
                                                          __m256 (&acc)[T]) {
  __m512i dot[T];
  for (int t = 0; t < T; ++t) dot[t] = _mm512_setzero_si512();
  if (T <= kTokensToPrefetch) prefetch(block.scale);
  for (int g = 0; g < groups; ++g) {
    const uint8_t* nibbles = block.q[g][0][0];
    if (T <= kTokensToPrefetch) {
      prefetch(nibbles);
      prefetch(nibbles + kCacheLine);
    }
    add_group<T>(nibbles, scale_pairs(block.scale[g]), x.q + b * Q4Block::kCols + g * kGroup,
                 x.sum + b * Q4Block::kGroups + g, x.stride, x.sums, dot);
  }
  for (int t = 0; t < T; ++t) {
    const __m256 scale = _mm256_set1_ps(x.scale[int64_t{t} * x.scales + b]);
    acc[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(add_halves(dot[t])), scale, acc[t]);
  }
}

// y[t * ldy + r] of one row tile and T tokens.
template <int T>
void multiply_tile(const uint8_t* tile, const float* row_scales, int groups, const Tokens& x, float* y, int64_t ldy) {
  const auto* blocks = reinterpret_cast<const Q4Block*>(tile);
  const int whole = groups / Q4Block::kGroups;
  __m256 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm256_setzero_ps();
  for (int b = 0; b < whole; ++b) multiply_block<T>(blocks[b], Q4Block::kGroups, x, b, acc);
  if (groups % Q4Block::kGroups) multiply_block<T>(blocks[whole], groups % Q4Block::kGroups, x, whole, acc);
  for (int t = 0; t < T; ++t) _mm256_storeu_ps(y + t * ldy, _mm256_mul_ps(acc[t], _mm256_loadu_ps(row_scales)));
}

using MultiplyTile = void(const uint8_t*, const float*, int, const Tokens&, float*, int64_t);
MultiplyTile* const kMultiplyTile[kMaxTokens + 1] = {nullptr,          multiply_tile<1>, multiply_tile<2>,
                                                     multiply_tile<3>, multiply_tile<4>, multiply_tile<5>,
                                                     multiply_tile<6>, multiply_tile<7>, multiply_tile<8>};

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < kFewTokens) {
    avx2::q4::matmul(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
    return;
  }
  const int groups = ceil_div(w.cols, kGroup), sums = x.stride / kGroup;
  // Tokens outside, tiles inside: 8 tokens' activations stay in L1 while the piece's tiles come from L2.
  for (int t = 0; t < n_tokens;) {
    const int left = n_tokens - t;
    const int n = ceil_div(left, ceil_div(left, kMaxTokens));  // 9 tokens are 5 + 4, not 8 + 1
    const int64_t token = first_token + t;
    const Tokens tokens = {
        x.q + token * x.stride, x.scale + token * x.scales, x.sum + token * sums, x.stride, x.scales, sums};
    for (int tile = 0; tile < n_tiles; ++tile)
      kMultiplyTile[n](w.tile(first_tile + tile), w.row_scales(first_tile + tile), groups, tokens,
                       y + t * ldy + tile * kTileRows, ldy);
    t += n;
  }
}

}  // namespace qwen3cpu::avx512vnni
