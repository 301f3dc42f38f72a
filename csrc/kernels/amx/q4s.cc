// q4s weights times int8 activations on tiles: 32 weight rows against any number of tokens.
//
// The group scale s is multiplied into the weights. So one run of tile products covers a whole block of 256 k, and the
// sums leave the tiles once a block. `(nibble - 8) * s` does not fit a byte, so it becomes two planes of signed bytes.
// `|s| = 16 h + l` with h <= 7 and l <= 15, and
//
//   sum (n - 8) * s * x = 16 * sum (m h) x + sum (m l) x,   m = n - 8 for s >= 0, 8 - n for s < 0: |m l| <= 8 * 15
//
// All of it is exact in int32: |16 * sum (m h) x| <= 16 * 256 * 56 * 127 = 29,130,752, the rest is smaller.
#include "kernels/amx/tiles.h"

namespace qwen3cpu::amx {
namespace {

constexpr int kGroups = Q4sBlock::kGroups;
constexpr int kStep = 64;  // k of one tile product
constexpr int kSteps = Q4sBlock::kCols / kStep;
constexpr int kPlanes = 2;  // h, l

// One block of 32 rows, ready for the tiles.
struct alignas(64) Block {
  int8_t q[kPanels][kPlanes][kSteps][kStep * kRows];
};

struct alignas(64) Sums {
  int32_t of[kPanels][kPlanes][kTokens][kRows];
};

struct alignas(64) Scratch {
  Block blocks[2];  // one is unpacked while the other is multiplied
  Sums sums[2];
  float acc[kTokenBlock][kStepRows];
};
static_assert(sizeof(Scratch) <= matmul_scratch_bytes(1));

// 16 scales of one group (rows of both tiles) in the layout of 16 lanes of two int16: the same value in both.
inline __m512i both_halves(__m256i scales16) {
  const __m512i wide = _mm512_cvtepu16_epi32(scales16);
  return _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
}

inline __m256i scales_of(const Q4sBlock& a, const Q4sBlock* b, int g) {
  const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(a.scale[g]));
  const __m128i high = b ? _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b->scale[g])) : _mm_setzero_si128();
  return _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(low, high));
}

// Unpacks group g of 16 rows, of which the second tile may be absent.
inline void unpack_group(const Q4sBlock& a, const Q4sBlock* b, int g, int8_t* high_plane, int8_t* low_plane) {
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m256i scale = scales_of(a, b, g);
  const __m256i magnitude = _mm256_abs_epi16(scale);
  const __m256i high_part = _mm256_srli_epi16(magnitude, 4);
  const __m256i low_part = _mm256_and_si256(magnitude, _mm256_set1_epi16(15));
  // For a negative scale the nibble n becomes 15 - n, and m = (15 - n) - 7.
  const __m256i negative = _mm256_srai_epi16(scale, 15);  // all ones
  const __m256i eight_or_seven = _mm256_add_epi16(_mm256_set1_epi16(8), negative);
  const __m256i offset = _mm256_mullo_epi16(eight_or_seven, _mm256_set1_epi16(0x0101));  // in both bytes
  const __m512i flip = both_halves(negative), h = both_halves(high_part), l = both_halves(low_part);
  const __m512i offset_h = both_halves(_mm256_mullo_epi16(offset, high_part));
  const __m512i offset_l = both_halves(_mm256_mullo_epi16(offset, low_part));
  for (int v = 0; v < 4; ++v) {
    const __m512i two = _mm512_xor_si512(load_two(a.q[g][v][0], b ? b->q[g][v][0] : nullptr), flip);
    const __m512i low = _mm512_and_si512(two, nibble);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(two, 4), nibble);
    // Both bytes of an int16 at once: a product is at most 15 * 15 and never carries into the next byte.
    _mm512_store_si512(high_plane + 64 * v, _mm512_sub_epi8(_mm512_mullo_epi16(low, h), offset_h));
    _mm512_store_si512(high_plane + 64 * (v + 4), _mm512_sub_epi8(_mm512_mullo_epi16(high, h), offset_h));
    _mm512_store_si512(low_plane + 64 * v, _mm512_sub_epi8(_mm512_mullo_epi16(low, l), offset_l));
    _mm512_store_si512(low_plane + 64 * (v + 4), _mm512_sub_epi8(_mm512_mullo_epi16(high, l), offset_l));
  }
}

// Unpacks parts first to last - 1 of the kPanels * kGroups parts of block b. Missing k and missing row tiles become
// zero.
inline void unpack(const Rows& rows, int b, int first, int last, Block& block) {
  const int groups = ceil_div(rows.w.cols, kGroup) - b * kGroups;
  for (int i = first; i < last; ++i) {
    const int g = i / kPanels, panel = i % kPanels;
    int8_t* high_plane = block.q[panel][0][g / 2] + g % 2 * (kGroup * kRows);
    int8_t* low_plane = block.q[panel][1][g / 2] + g % 2 * (kGroup * kRows);
    const auto* tile = rows.block<Q4sBlock>(2 * panel, b);
    if (tile != nullptr && g < groups) {
      unpack_group(*tile, rows.block<Q4sBlock>(2 * panel + 1, b), g, high_plane, low_plane);
    } else {
      std::memset(high_plane, 0, kGroup * kRows);
      std::memset(low_plane, 0, kGroup * kRows);
    }
  }
}

// Sums of a block and a tile of tokens, and the accumulators to which they are added.
struct Unit {
  const Sums* sums;
  const float* scale_x;
  int scales;
  float (*acc)[kStepRows];
};

// acc = fma(float(dot), scale_x, acc) for a step's share of the tokens.
inline __attribute__((always_inline)) void add(const Unit& unit, int step) {
  constexpr int share = kTokens / kSteps;
#pragma GCC unroll 4
  for (int t = step * share; t < (step + 1) * share; ++t) {
    const __m512 scale = _mm512_set1_ps(unit.scale_x[t * int64_t{unit.scales}]);
#pragma GCC unroll 2
    for (int p = 0; p < kPanels; ++p) {
      const __m512i high = load(unit.sums->of[p][0][t]), low = load(unit.sums->of[p][1][t]);
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_add_epi32(low, _mm512_slli_epi32(high, 4)));
      float* acc = unit.acc[t] + p * kRows;
      _mm512_store_ps(acc, _mm512_fmadd_ps(dot, scale, _mm512_load_ps(acc)));
    }
  }
}

// Multiplies a block with a tile of tokens in `steps` steps. Meanwhile the vector units add up the sums of the previous
// pair.
inline void multiply_and_add(const Block& block, const int8_t* x, int stride, int steps, const Unit& before) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
#pragma GCC unroll 4
  for (int step = 0; step < kSteps; ++step) {
    if (step < steps) {
      _tile_loadd(4, x + kStep * step, stride);
      _tile_loadd(5, block.q[0][0][step], 4 * kRows);
      _tile_dpbssd(0, 4, 5);
      _tile_loadd(6, block.q[0][1][step], 4 * kRows);
      _tile_dpbssd(1, 4, 6);
      _tile_loadd(7, block.q[1][0][step], 4 * kRows);
      _tile_dpbssd(2, 4, 7);
      _tile_loadd(5, block.q[1][1][step], 4 * kRows);
      _tile_dpbssd(3, 4, 5);
    }
    settle_memory();
    if (before.sums != nullptr) add(before, step);
    settle_memory();
  }
}

inline void store(Sums& sums) {
  _tile_stored(0, sums.of[0][0], 4 * kRows);
  _tile_stored(1, sums.of[0][1], 4 * kRows);
  _tile_stored(2, sums.of[1][0], 4 * kRows);
  _tile_stored(3, sums.of[1][1], 4 * kRows);
  settle_memory();
}

// Four row tiles against kTokens to kTokenBlock tokens.
void multiply_rows(const Rows& rows, const Tokens& x, int first_token, int n, float* y, int64_t ldy, Scratch& scratch) {
  constexpr int parts = kPanels * kGroups;
  const int groups = ceil_div(rows.w.cols, kGroup), blocks = ceil_div(groups, kGroups);
  const int token_tiles = ceil_div(n, kTokens), share = ceil_div(parts, token_tiles);
  std::memset(scratch.acc, 0, sizeof(scratch.acc[0]) * static_cast<size_t>(token_tiles * kTokens));
  unpack(rows, 0, 0, parts, scratch.blocks[0]);
  Unit before = {nullptr, nullptr, 0, nullptr};
  int turn = 0;
  for (int b = 0; b < blocks; ++b)
    for (int i = 0; i < token_tiles; ++i, turn ^= 1) {
      const int64_t t = first_token + first_token_of(i, n);
      const int8_t* q = x.q + t * x.stride + int64_t{b} * Q4sBlock::kCols;
      fetch_weights<Q4sBlock>(rows, b + 2, 1, i, token_tiles);
      fetch_tokens(q + kTokens * x.stride, x.stride, Q4sBlock::kCols);
      fetch_outputs(y + first_token_of(i, n) * ldy, ldy, b, blocks);
      multiply_and_add(scratch.blocks[b & 1], q, x.stride, ceil_div(min(kGroups, groups - b * kGroups), 2), before);
      if (b + 1 < blocks) unpack(rows, b + 1, i * share, min((i + 1) * share, parts), scratch.blocks[(b + 1) & 1]);
      store(scratch.sums[turn]);
      before = {&scratch.sums[turn], x.scale + t * x.scales + b, x.scales, scratch.acc + i * kTokens};
    }
  for (int step = 0; step < kSteps; ++step) add(before, step);
  store_scaled(rows, scratch.acc, n, y, ldy);
}

}  // namespace

void q4s::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < kLeastTokens) {
    avx512vnni::q4s::matmul(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
    return;
  }
  multiply(kStep, multiply_rows, w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

}  // namespace qwen3cpu::amx
