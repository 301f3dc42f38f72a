// q4 weights times int8 activations on tiles: 16 weight rows against any number of tokens.
//
// The group scale s is folded into the weights, so that one run of tile products covers a whole block of 256 k and the
// sums leave the tiles once a block. nibble * s does not fit a byte, so it becomes two planes of unsigned bytes:
// |s| = 16 h + l with h <= 7 and l <= 15, and for a negative s the nibble n is stored as 15 - n:
//
//   (n - 8) * s = n' * |s| - o * |s|,   n' = n, o = 8 for s >= 0;  n' = 15 - n, o = 7 for s < 0
//   sum (n - 8) * s * x = 16 * sum (n' h) x + sum (n' l) x - sum over groups of o |s| * sum x
//
// All of it is exact in int32: |16 * sum (n' h) x| <= 16 * 256 * 105 * 127 = 54,613,248, the rest is smaller.
#include "tiles.h"

namespace qwen3cpu::amx {
namespace {

constexpr int kStep = 64;  // k of one tile product
constexpr int kSteps = Q4Block::kCols / kStep;
constexpr int kPlaneBytes = kStep * kRows;
constexpr int kPairs = Q4Block::kGroups / 2;
// One block of 16 rows, ready for the tiles.
struct alignas(64) Panel {
  uint8_t high[kSteps][kPlaneBytes];
  uint8_t low[kSteps][kPlaneBytes];
  int16_t offset[kPairs][kRows][2];  // -o * |s| of two groups
};

// 16 scales of one group (rows of both tiles) in the layout of 16 lanes of two int16: the same value in both.
inline __m512i both_halves(__m256i scales16) {
  const __m512i wide = _mm512_cvtepu16_epi32(scales16);
  return _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
}

inline __m256i scales_of(const Q4Block& a, const Q4Block* b, int g) {
  const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(a.scale[g]));
  const __m128i high = b ? _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b->scale[g])) : _mm_setzero_si128();
  return _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(low, high));
}

// Unpacks `groups` groups of a block; what is missing of 256 k is zero.
void unpack(const Q4Block& a, const Q4Block* b, int groups, Panel& panel) {
  const __m512i nibble = _mm512_set1_epi8(15);
  for (int g = 0; g < Q4Block::kGroups; ++g) {
    uint8_t* high_plane = panel.high[g / 2] + g % 2 * (kPlaneBytes / 2);
    uint8_t* low_plane = panel.low[g / 2] + g % 2 * (kPlaneBytes / 2);
    if (g >= groups) {
      std::memset(high_plane, 0, kPlaneBytes / 2);
      std::memset(low_plane, 0, kPlaneBytes / 2);
      for (int r = 0; r < kRows; ++r) panel.offset[g / 2][r][g % 2] = 0;
      continue;
    }
    const __m256i scale = scales_of(a, b, g);
    const __m256i magnitude = _mm256_abs_epi16(scale);
    const __m512i h = both_halves(_mm256_srli_epi16(magnitude, 4));
    const __m512i l = both_halves(_mm256_and_si256(magnitude, _mm256_set1_epi16(15)));
    const __m512i flip = both_halves(_mm256_srai_epi16(scale, 15));  // all ones where the scale is negative
    for (int v = 0; v < 4; ++v) {
      const __m512i two = _mm512_xor_si512(load_two(a.q[g][v][0], b ? b->q[g][v][0] : nullptr), flip);
      const __m512i low = _mm512_and_si512(two, nibble);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(two, 4), nibble);
      // Both bytes of an int16 at once: a product is at most 15 * 15 and never carries into the next byte.
      _mm512_store_si512(high_plane + 64 * v, _mm512_mullo_epi16(low, h));
      _mm512_store_si512(high_plane + 64 * (v + 4), _mm512_mullo_epi16(high, h));
      _mm512_store_si512(low_plane + 64 * v, _mm512_mullo_epi16(low, l));
      _mm512_store_si512(low_plane + 64 * (v + 4), _mm512_mullo_epi16(high, l));
    }
    const __m256i minus_eight_or_seven = _mm256_sub_epi16(_mm256_set1_epi16(-8), _mm256_srai_epi16(scale, 15));
    alignas(32) int16_t offset[kRows];
    _mm256_store_si256(reinterpret_cast<__m256i*>(offset), _mm256_mullo_epi16(magnitude, minus_eight_or_seven));
    for (int r = 0; r < kRows; ++r) panel.offset[g / 2][r][g % 2] = offset[r];
  }
}

static_assert(sizeof(Panel) + 4 * (2 * kTokens * kRows * 4) + kTokenBlock * kRows * 4 <= matmul_scratch_bytes(1));

struct Tokens {
  const int8_t* q;
  const float* scale;
  const int16_t* sum;
  int stride, scales, sums;
};

struct alignas(64) Sums {
  int32_t high[kTokens][kRows];
  int32_t low[kTokens][kRows];
};

// acc[t] = fma(float(dot), scale_x, acc[t]) for one tile of tokens. Groups that a cut block lacks have an offset of
// zero, against sums of the next token or of the slack.
inline void add_block(const Sums& sums, const Panel& panel, const Tokens& x, int first_token, int n, int b,
                      float (*acc)[kRows]) {
  __m512i offset[kPairs];
  for (int pair = 0; pair < kPairs; ++pair) offset[pair] = load(panel.offset[pair]);
  const int16_t* sum = x.sum + first_token * int64_t{x.sums} + b * Q4Block::kGroups;
  const float* scale = x.scale + first_token * int64_t{x.scales} + b;
  for (int t = 0; t < n; ++t, sum += x.sums, scale += x.scales) {
    __m512i dot = load(sums.low[t]);
    for (int pair = 0; pair < kPairs; ++pair) {
      int32_t two;
      std::memcpy(&two, sum + 2 * pair, sizeof(two));
      dot = _mm512_dpwssd_epi32(dot, offset[pair], _mm512_set1_epi32(two));
    }
    dot = _mm512_add_epi32(dot, _mm512_slli_epi32(load(sums.high[t]), 4));
    _mm512_store_ps(acc[t], _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(*scale), _mm512_load_ps(acc[t])));
  }
}

// Multiplies one unpacked block with one or two tiles of tokens.
inline void multiply_block(const Panel& panel, int steps, const Tokens& x, int first_token, bool two, int64_t k,
                           Sums* sums) {
  const int8_t* a = x.q + first_token * int64_t{x.stride} + k;
  const int8_t* b = a + kTokens * int64_t{x.stride};
  settle_memory();
  _tile_zero(0);
  _tile_zero(1);
  if (two) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int step = 0; step < steps; ++step) {
    _tile_loadd(4, a + kStep * step, x.stride);
    _tile_loadd(6, panel.high[step], 4 * kRows);
    _tile_loadd(7, panel.low[step], 4 * kRows);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    if (two) {
      _tile_loadd(5, b + kStep * step, x.stride);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
  }
  _tile_stored(0, sums[0].high, 4 * kRows);
  _tile_stored(1, sums[0].low, 4 * kRows);
  if (two) {
    _tile_stored(2, sums[1].high, 4 * kRows);
    _tile_stored(3, sums[1].low, 4 * kRows);
  }
  settle_memory();
}

// Two row tiles (or one) against up to kTokenBlock tokens.
void multiply_rows(const Matrix& w, int tile, bool two_tiles, const Tokens& x, int first_token, int n, float* y,
                   int64_t ldy, uint8_t* scratch) {
  auto* panel = reinterpret_cast<Panel*>(scratch);
  auto* sums = reinterpret_cast<Sums*>(scratch + sizeof(Panel));
  auto* acc = reinterpret_cast<float (*)[kRows]>(scratch + sizeof(Panel) + 4 * sizeof(Sums));
  const int groups = ceil_div(w.cols, kGroup);
  const auto* a = reinterpret_cast<const Q4Block*>(w.tile(tile));
  const auto* b = two_tiles ? reinterpret_cast<const Q4Block*>(w.tile(tile + 1)) : nullptr;
  std::memset(acc, 0, sizeof(float) * static_cast<size_t>(n) * kRows);
  TileShape shape;
  for (int block = 0; block * Q4Block::kGroups < groups; ++block) {
    const int here = min(Q4Block::kGroups, groups - block * Q4Block::kGroups);
    unpack(a[block], b ? b + block : nullptr, here, *panel);
    // A pair of tiles is added up while the tile unit works on the next pair.
    const auto add_pair = [&](int t) {
      const Sums* of_pair = sums + t / kTokens % 4;
      for (int i = 0; i < 2 && t + i * kTokens < n; ++i)
        add_block(of_pair[i], *panel, x, first_token + t + i * kTokens, min(kTokens, n - t - i * kTokens), block,
                  acc + t + i * kTokens);
    };
    for (int t = 0; t < n; t += 2 * kTokens) {
      const int n0 = min(kTokens, n - t), n1 = min(kTokens, n - t - n0);
      shape.configure(n0, n1, kStep);
      multiply_block(*panel, ceil_div(here, 2), x, first_token + t, n1 > 0, int64_t{block} * Q4Block::kCols,
                     sums + t / kTokens % 4);
      if (t > 0) add_pair(t - 2 * kTokens);
    }
    add_pair((n - 1) / (2 * kTokens) * 2 * kTokens);
  }
  const __m256 low = _mm256_loadu_ps(w.row_scales(tile));
  const __m256 high = two_tiles ? _mm256_loadu_ps(w.row_scales(tile + 1)) : _mm256_setzero_ps();
  const __m512 row_scale = _mm512_castsi512_ps(
      _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_castps_si256(low)), _mm256_castps_si256(high), 1));
  for (int t = 0; t < n; ++t) store_rows(y + t * ldy, _mm512_mul_ps(_mm512_load_ps(acc[t]), row_scale), two_tiles);
}

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < kFewTokens) {
    avx512vnni::q4::matmul(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
    return;
  }
  const Tokens tokens = {x.q, x.scale, x.sum, x.stride, x.scales, x.stride / kGroup};
  for_each_panel(first_tile, n_tiles, first_token, n_tokens, y, ldy,
                 [&](int tile, bool two_tiles, int first, int n, float* to) {
                   multiply_rows(w, tile, two_tiles, tokens, first, n, to, ldy, scratch);
                 });
}

}  // namespace qwen3cpu::amx
