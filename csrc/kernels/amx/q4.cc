// q4 weights times int8 activations on tiles: 32 weight rows against any number of tokens.
//
// The step s of a group is multiplied into its weights: `(n - 8) * s` is a signed byte (-120..105). So one run of tile
// products covers a whole block of 256 k, `A = sum((n - 8) * s * x)`. The vector units add the terms of the places of
// zero, two groups in a VPDPWSSD:
//
//   dot = 8 * A + sum over the groups of 3 s (z - 7) * (sum of x)
//
// |8 * A| <= 8 * 256 * 120 * 127 = 31,211,520, the rest is at most 8 * 360 * 4,064 = 11,704,320: int32 holds it.
#include "kernels/amx/tiles.h"

namespace qwen3cpu::amx {
namespace {

constexpr int kGroups = Q4Block::kGroups;
constexpr int kPairs = kGroups / 2;
constexpr int kStep = 64;  // k of one tile product
constexpr int kSteps = Q4Block::kCols / kStep;
constexpr int kChains = 2;  // chains of products for every panel, in turn, because a product waits for its sums

// One block of 32 rows, ready for the tiles.
struct alignas(64) Block {
  int8_t q[kPanels][kSteps][kStep * kRows];
  int16_t place[kPanels][kPairs][kRows][2];  // 3 s (z - 7) of two groups
};

struct alignas(64) Sums {
  int32_t of[kPanels][kChains][kTokens][kRows];
};

struct alignas(64) Scratch {
  Block blocks[2];  // one is unpacked while the other is multiplied
  Sums sums[2];
  float acc[kTokenBlock][kStepRows];
};
static_assert(sizeof(Scratch) <= matmul_scratch_bytes(1));

// The bytes of scales of one group, rows of both tiles; the second one may be absent.
inline __m256i scales_of(const Q4Block& a, const Q4Block* b, int g) {
  const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(a.scale[g]));
  const __m128i high = b ? _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b->scale[g])) : _mm_setzero_si128();
  return _mm256_cvtepu8_epi16(_mm_unpacklo_epi64(low, high));
}

inline __m256i steps_of(__m256i scales) { return _mm256_and_si256(scales, _mm256_set1_epi16(15)); }

// 3 s (z - 7)
inline __m256i places_of(__m256i scales) {
  const __m256i zero = _mm256_sub_epi16(_mm256_srli_epi16(scales, 4), _mm256_set1_epi16(kQ4ZeroMiddle));
  return _mm256_mullo_epi16(steps_of(scales), _mm256_mullo_epi16(zero, _mm256_set1_epi16(kQ4ZeroParts)));
}

// One int16 a row in the lower halves of 32-bit lanes, another one in the upper halves.
inline __m512i side_by_side(__m256i low, __m256i high) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

// Unpacks group g of 16 rows, of which the second tile may be absent.
inline void unpack_group(const Q4Block& a, const Q4Block* b, int g, int8_t* q) {
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m256i steps = steps_of(scales_of(a, b, g));
  const __m256i eight_steps = _mm256_mullo_epi16(steps, _mm256_set1_epi16(0x0808));  // in both bytes
  const __m512i s = side_by_side(steps, steps), offset = side_by_side(eight_steps, eight_steps);
  for (int v = 0; v < 4; ++v) {
    const __m512i two = load_two(a.q[g][v][0], b ? b->q[g][v][0] : nullptr);
    const __m512i low = _mm512_and_si512(two, nibble);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(two, 4), nibble);
    // Both bytes of an int16 at once: a product is at most 15 * 15 and never carries into the next byte.
    _mm512_store_si512(q + 64 * v, _mm512_sub_epi8(_mm512_mullo_epi16(low, s), offset));
    _mm512_store_si512(q + 64 * (v + 4), _mm512_sub_epi8(_mm512_mullo_epi16(high, s), offset));
  }
}

// Unpacks parts first to last - 1 of the kPanels * kGroups parts of block b. Missing k and missing row tiles become
// zero. The last block has steps of zero for missing groups.
inline void unpack(const Rows& rows, int b, int first, int last, Block& block) {
  const int groups = ceil_div(rows.w.cols, kGroup) - b * kGroups;
  for (int i = first; i < last; ++i) {
    const int g = i / kPanels, panel = i % kPanels;
    int8_t* q = block.q[panel][g / 2] + g % 2 * (kGroup * kRows);
    int16_t (&place)[kRows][2] = block.place[panel][g / 2];
    const auto* tile = rows.block<Q4Block>(2 * panel, b);
    if (tile != nullptr && g < groups) {
      const auto* next = rows.block<Q4Block>(2 * panel + 1, b);
      unpack_group(*tile, next, g, q);
      if (g % 2 == 0)
        _mm512_store_si512(
            place, side_by_side(places_of(scales_of(*tile, next, g)), places_of(scales_of(*tile, next, g + 1))));
    } else {
      std::memset(q, 0, kGroup * kRows);
      if (g % 2 == 0) std::memset(place, 0, sizeof(place));
    }
  }
}

// Sums of a block and a tile of tokens, and the accumulators to which they are added.
struct Unit {
  const Sums* sums;
  const Block* block;
  const float* scale_x;
  const int16_t* sum_x;
  int scales, sums_x;
  float (*acc)[kStepRows];
};

// acc = fma(float(dot), scale_x, acc) for a step's share of the tokens.
inline __attribute__((always_inline)) void add(const Unit& unit, int step) {
  constexpr int share = kTokens / kSteps;
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p) {
    const __m512i place[kPairs] = {load(unit.block->place[p][0]), load(unit.block->place[p][1]),
                                   load(unit.block->place[p][2]), load(unit.block->place[p][3])};
#pragma GCC unroll 4
    for (int t = step * share; t < (step + 1) * share; ++t) {
      const __m512i products = _mm512_add_epi32(load(unit.sums->of[p][0][t]), load(unit.sums->of[p][1][t]));
      __m512i dot = _mm512_slli_epi32(products, 3);
#pragma GCC unroll 4
      for (int pair = 0; pair < kPairs; ++pair) {
        int32_t two;
        std::memcpy(&two, unit.sum_x + t * int64_t{unit.sums_x} + 2 * pair, sizeof(two));
        dot = _mm512_dpwssd_epi32(dot, place[pair], _mm512_set1_epi32(two));
      }
      float* acc = unit.acc[t] + p * kRows;
      const __m512 scale = _mm512_set1_ps(unit.scale_x[t * int64_t{unit.scales}]);
      _mm512_store_ps(acc, _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, _mm512_load_ps(acc)));
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
    if (step < steps && step % kChains == 0) {
      _tile_loadd(4, x + kStep * step, stride);
      _tile_loadd(6, block.q[0][step], 4 * kRows);
      _tile_dpbssd(0, 4, 6);
      _tile_loadd(7, block.q[1][step], 4 * kRows);
      _tile_dpbssd(1, 4, 7);
    } else if (step < steps) {
      _tile_loadd(5, x + kStep * step, stride);
      _tile_loadd(6, block.q[0][step], 4 * kRows);
      _tile_dpbssd(2, 5, 6);
      _tile_loadd(7, block.q[1][step], 4 * kRows);
      _tile_dpbssd(3, 5, 7);
    }
    settle_memory();
    if (before.sums != nullptr) add(before, step);
    settle_memory();
  }
}

inline void store(Sums& sums) {
  _tile_stored(0, sums.of[0][0], 4 * kRows);
  _tile_stored(1, sums.of[1][0], 4 * kRows);
  _tile_stored(2, sums.of[0][1], 4 * kRows);
  _tile_stored(3, sums.of[1][1], 4 * kRows);
  settle_memory();
}

// Four row tiles against kTokens to kTokenBlock tokens.
void multiply_rows(const Rows& rows, const Tokens& x, int first_token, int n, float* y, int64_t ldy, Scratch& scratch) {
  constexpr int parts = kPanels * kGroups;
  const int groups = ceil_div(rows.w.cols, kGroup), blocks = ceil_div(groups, kGroups);
  const int token_tiles = ceil_div(n, kTokens), share = ceil_div(parts, token_tiles), sums_x = x.stride / kGroup;
  std::memset(scratch.acc, 0, sizeof(scratch.acc[0]) * static_cast<size_t>(token_tiles * kTokens));
  unpack(rows, 0, 0, parts, scratch.blocks[0]);
  Unit before = {nullptr, nullptr, nullptr, nullptr, 0, 0, nullptr};
  int turn = 0;
  for (int b = 0; b < blocks; ++b)
    for (int i = 0; i < token_tiles; ++i, turn ^= 1) {
      const Block& block = scratch.blocks[b & 1];
      const int64_t t = first_token + first_token_of(i, n);
      const int8_t* q = x.q + t * x.stride + int64_t{b} * Q4Block::kCols;
      fetch_weights<Q4Block>(rows, b + 2, 1, i, token_tiles);
      fetch_tokens(q + kTokens * x.stride, x.stride, Q4Block::kCols);
      fetch_outputs(y + first_token_of(i, n) * ldy, ldy, b, blocks);
      multiply_and_add(block, q, x.stride, ceil_div(min(kGroups, groups - b * kGroups), 2), before);
      // The places of the previous block have been read for the last time.
      if (b + 1 < blocks) unpack(rows, b + 1, i * share, min((i + 1) * share, parts), scratch.blocks[(b + 1) & 1]);
      store(scratch.sums[turn]);
      before = {&scratch.sums[turn],
                &block,
                x.scale + t * x.scales + b,
                x.sum + t * sums_x + b * kGroups,
                x.scales,
                sums_x,
                scratch.acc + i * kTokens};
    }
  for (int step = 0; step < kSteps; ++step) add(before, step);
  store_scaled(rows, scratch.acc, n, y, ldy);
}

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < kLeastTokens) {
    avx512vnni::q4::matmul(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
    return;
  }
  multiply(kStep, multiply_rows, w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

#include "kernels/q4x2_kernel.inc"

}  // namespace qwen3cpu::amx
