// q8 weights times int8 activations on tiles: 16 weight rows against any number of tokens. A group of 32 k is one tile
// product; its int32 sums leave the tiles to be scaled.
#include "tiles.h"

namespace qwen3cpu::amx {
namespace {

// One block of 16 rows, ready for the tiles.
struct alignas(64) Panel {
  int8_t q[Q8Block::kGroups][kGroup * kRows];
  float scale[Q8Block::kGroups][kRows];
};

struct alignas(64) Sums {
  int32_t of_group[Q8Block::kGroups][kTokens][kRows];
};
static_assert(sizeof(Panel) + 2 * sizeof(Sums) + kTokenBlock * kRows * 4 <= matmul_scratch_bytes(1));

struct Tokens {
  const int8_t* q;
  const float* scale;
  int stride, scales;
};

void unpack(const Q8Block& a, const Q8Block* b, int groups, Panel& panel) {
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int g = 0; g < groups; ++g) {
    for (int quad = 0; quad < 8; ++quad) {
      const __m512i q = load_two(a.q[g][quad][0], b ? b->q[g][quad][0] : nullptr);
      _mm512_store_si512(panel.q[g] + 64 * quad, _mm512_xor_si512(q, offset));
    }
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a.scale[g]));
    const __m128i high = b ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(b->scale[g])) : _mm_setzero_si128();
    _mm512_store_ps(panel.scale[g], _mm512_cvtph_ps(_mm256_set_m128i(high, low)));
  }
}

// The products of one block with one or two tiles of tokens, group by group.
inline void multiply_block(const Panel& panel, int groups, const Tokens& x, int first_token, bool two, int64_t k,
                           Sums* sums) {
  const int8_t* a = x.q + first_token * int64_t{x.stride} + k;
  const int8_t* b = a + kTokens * int64_t{x.stride};
  settle_memory();
  for (int g = 0; g < groups; ++g) {
    _tile_loadd(6, panel.q[g], 4 * kRows);
    _tile_loadd(4, a + kGroup * g, x.stride);
    _tile_zero(0);
    _tile_dpbssd(0, 4, 6);
    _tile_stored(0, sums[0].of_group[g], 4 * kRows);
    if (!two) continue;
    _tile_loadd(5, b + kGroup * g, x.stride);
    _tile_zero(2);
    _tile_dpbssd(2, 5, 6);
    _tile_stored(2, sums[1].of_group[g], 4 * kRows);
  }
  settle_memory();
}

// acc[t] = fma(float(dot), scale_w * scale_x, acc[t]) over the block's groups, for one tile of tokens.
inline void add_block(const Sums& sums, const Panel& panel, int groups, const Tokens& x, int first_token, int n,
                      int first_group, float (*acc)[kRows]) {
  for (int t = 0; t < n; ++t) {
    const float* scale_x = x.scale + (first_token + t) * int64_t{x.scales} + first_group;
    __m512 sum = _mm512_load_ps(acc[t]);
    for (int g = 0; g < groups; ++g) {
      const __m512 scale = _mm512_mul_ps(_mm512_load_ps(panel.scale[g]), _mm512_set1_ps(scale_x[g]));
      sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(load(sums.of_group[g][t])), scale, sum);
    }
    _mm512_store_ps(acc[t], sum);
  }
}

// Two row tiles (or one) against up to kTokenBlock tokens.
void multiply_rows(const Matrix& w, int tile, bool two_tiles, const Tokens& x, int first_token, int n, float* y,
                   int64_t ldy, uint8_t* scratch) {
  auto* panel = reinterpret_cast<Panel*>(scratch);
  auto* sums = reinterpret_cast<Sums*>(scratch + sizeof(Panel));
  auto* acc = reinterpret_cast<float (*)[kRows]>(scratch + sizeof(Panel) + 2 * sizeof(Sums));
  const int groups = ceil_div(w.cols, kGroup);
  const auto* a = reinterpret_cast<const Q8Block*>(w.tile(tile));
  const auto* b = two_tiles ? reinterpret_cast<const Q8Block*>(w.tile(tile + 1)) : nullptr;
  std::memset(acc, 0, sizeof(float) * static_cast<size_t>(n) * kRows);
  TileShape shape;
  for (int first = 0; first < groups; first += Q8Block::kGroups, ++a) {
    const int here = min(Q8Block::kGroups, groups - first);
    unpack(*a, b, here, *panel);
    if (b) ++b;
    for (int t = 0; t < n; t += 2 * kTokens) {
      const int n0 = min(kTokens, n - t), n1 = min(kTokens, n - t - n0);
      shape.configure(n0, n1, kGroup);
      multiply_block(*panel, here, x, first_token + t, n1 > 0, int64_t{first} * kGroup, sums);
      add_block(sums[0], *panel, here, x, first_token + t, n0, first, acc + t);
      if (n1 > 0) add_block(sums[1], *panel, here, x, first_token + t + n0, n1, first, acc + t + n0);
    }
  }
  for (int t = 0; t < n; ++t) store_rows(y + t * ldy, _mm512_load_ps(acc[t]), two_tiles);
}

}  // namespace

void q8::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < kFewTokens) {
    avx512vnni::q8::matmul(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
    return;
  }
  const Tokens tokens = {x.q, x.scale, x.stride, x.scales};
  for_each_panel(first_tile, n_tiles, first_token, n_tokens, y, ldy,
                 [&](int tile, bool two_tiles, int first, int n, float* to) {
                   multiply_rows(w, tile, two_tiles, tokens, first, n, to, ldy, scratch);
                 });
}

}  // namespace qwen3cpu::amx
