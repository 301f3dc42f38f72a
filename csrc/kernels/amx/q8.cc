// q8 weights times int8 activations on tiles: 32 weight rows against any number of tokens.
//
// A group of 32 k is one tile product of 16 rows and 16 tokens, which takes 16 cycles. Its 256 sums leave the tile and
// are scaled and added up in vector registers. The vector units are the bottleneck, so the work is arranged for them:
//
// - While tile instructions are in flight, 512-bit multiply-adds and conversions run on one port only; additions keep
//   two. Tiles therefore start from the integer whose bits are the float `1.5 * 2^23`. Adding `|dot| < 2^22` to it
//   gives the bits of `1.5 * 2^23 + dot`, so a subtraction replaces the conversion. This is exact.
// - A step is the eight products of a block of 4 groups with two panels of 16 rows. Three operations alternate: a
//   product, the store of the third product before it, and the scaling of two tokens of the previous step. So the tile
//   unit, stores and vector units work at the same time. A tile stored right after its product would wait for it.
#include <utility>

#include "kernels/amx/tiles.h"

namespace qwen3cpu::amx {
namespace {

constexpr int kGroups = Q8Block::kGroups;
constexpr int kProducts = kGroups * kPanels;  // of a step: product p has group p / kPanels and panel p % kPanels
constexpr int kLag = 3;                       // products from a product to the store of its tile
constexpr int kBlocks = 2;                    // blocks unpacked at once: with tokens and sums they stay in L1
constexpr float kShift = 0x1.8p+23f;

// One block of 32 rows, ready for the tiles.
struct alignas(64) Block {
  int8_t q[kProducts][kGroup * kRows];
  float scale[kProducts][kRows];
};

// The shifted sums of a step's products.
struct alignas(64) Sums {
  float of_product[kProducts][kTokens][kRows];
};

struct alignas(64) Scratch {
  Block blocks[2][kBlocks];  // one half is unpacked while steps of the other are under way
  Sums sums[2];
  float acc[kTokenBlock][kStepRows];
};
static_assert(sizeof(Scratch) <= matmul_scratch_bytes(1));

// A block of weights against a tile of tokens.
struct Step {
  const int8_t* x;
  const float* scale_x;
  const Block* w;
  float (*acc)[kStepRows];
  int groups;
};

// Unpacks a block of up to four row tiles. Absent tiles become zero.
void unpack(const Q8Block* const (&tiles)[2 * kPanels], int groups, Block& block) {
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int p = 0; p < groups * kPanels; ++p) {
    const int g = p / kPanels;
    const Q8Block *a = tiles[p % kPanels * 2], *b = tiles[p % kPanels * 2 + 1];
    if (a == nullptr) {
      std::memset(block.q[p], 0, sizeof(block.q[p]));
      std::memset(block.scale[p], 0, sizeof(block.scale[p]));
      continue;
    }
    for (int quad = 0; quad < 8; ++quad) {
      const __m512i q = load_two(a->q[g][quad][0], b ? b->q[g][quad][0] : nullptr);
      _mm512_store_si512(block.q[p] + 64 * quad, _mm512_xor_si512(q, offset));
    }
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a->scale[g]));
    const __m128i high = b ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(b->scale[g])) : _mm_setzero_si128();
    _mm512_store_ps(block.scale[p], _mm512_cvtph_ps(_mm256_set_m128i(high, low)));
  }
}

alignas(64) constexpr float kShifts[kRows] = {kShift, kShift, kShift, kShift, kShift, kShift, kShift, kShift,
                                              kShift, kShift, kShift, kShift, kShift, kShift, kShift, kShift};

// Computes product P of a step in tile P % 4. The sums of groups that a cut block lacks are never read.
template <int P>
inline __attribute__((always_inline)) void multiply(const int8_t* x, const Block* w, int64_t stride) {
  const int8_t* a = x + P / kPanels * kGroup;
  const int8_t* b = w->q[P];
  if constexpr (P % 4 == 0) {
    _tile_loadd(4, a, stride);
    _tile_loadd(6, b, 4 * kRows);
    _tile_loadd(0, kShifts, 0);
    _tile_dpbssd(0, 4, 6);
  } else if constexpr (P % 4 == 1) {
    _tile_loadd(7, b, 4 * kRows);
    _tile_loadd(1, kShifts, 0);
    _tile_dpbssd(1, 4, 7);
  } else if constexpr (P % 4 == 2) {
    _tile_loadd(5, a, stride);
    _tile_loadd(6, b, 4 * kRows);
    _tile_loadd(2, kShifts, 0);
    _tile_dpbssd(2, 5, 6);
  } else {
    _tile_loadd(7, b, 4 * kRows);
    _tile_loadd(3, kShifts, 0);
    _tile_dpbssd(3, 5, 7);
  }
}

template <int P>
inline __attribute__((always_inline)) void store(Sums& sums) {
  float* to = sums.of_product[P][0];
  if constexpr (P % 4 == 0) _tile_stored(0, to, 4 * kRows);
  if constexpr (P % 4 == 1) _tile_stored(1, to, 4 * kRows);
  if constexpr (P % 4 == 2) _tile_stored(2, to, 4 * kRows);
  if constexpr (P % 4 == 3) _tile_stored(3, to, 4 * kRows);
}

// acc[row] = fma(float(dot), scale_w * scale_x, acc[row]) over the groups for token t of the tile. kWhole: whether
// there are four groups.
template <bool kWhole>
inline __attribute__((always_inline)) void add(const Sums& sums, int t, const __m512 (&scale_w)[kProducts],
                                               const float* scale_x, int groups, float* acc) {
  const __m512 shift = _mm512_set1_ps(kShift);
  __m512 acc0 = _mm512_load_ps(acc), acc1 = _mm512_load_ps(acc + kRows);
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    if (!kWhole && g >= groups) break;
    const __m512 x = _mm512_set1_ps(scale_x[g]);
    const __m512 dot0 = _mm512_sub_ps(_mm512_load_ps(sums.of_product[2 * g][t]), shift);
    const __m512 dot1 = _mm512_sub_ps(_mm512_load_ps(sums.of_product[2 * g + 1][t]), shift);
    acc0 = _mm512_fmadd_ps(dot0, _mm512_mul_ps(scale_w[2 * g], x), acc0);
    acc1 = _mm512_fmadd_ps(dot1, _mm512_mul_ps(scale_w[2 * g + 1], x), acc1);
  }
  _mm512_store_ps(acc, acc0);
  _mm512_store_ps(acc + kRows, acc1);
}

// The step whose sums the vector units add up, and the two steps after it. Meanwhile the tile unit stores the sums of
// the next step. It computes products from number kLag of the next step to number kLag - 1 of the step after it.
struct Stage {
  const Sums* sums;
  Sums* next_sums;
  Step step, next, after_next;
  int64_t stride, scales;
};

// Turn P of a step: the tile unit stores product P and begins the product kLag further on, and the vector units scale
// two tokens.
template <bool kWhole, int P>
inline __attribute__((always_inline)) void turn(const Stage& stage, const __m512 (&scale_w)[kProducts],
                                                const float*& scale_x) {
  constexpr int ahead = P + kLag, token = 2 * P;
  const Step& step = stage.step;
  const Step& multiplied = ahead < kProducts ? stage.next : stage.after_next;
  store<P>(*stage.next_sums);
  multiply<ahead % kProducts>(multiplied.x, multiplied.w, stage.stride);
  settle_memory();
  add<kWhole>(*stage.sums, token, scale_w, scale_x, step.groups, step.acc[token]);
  add<kWhole>(*stage.sums, token + 1, scale_w, scale_x + stage.scales, step.groups, step.acc[token + 1]);
  scale_x += 2 * stage.scales;
  settle_memory();
}
static_assert(kTokens == 2 * kProducts && kPanels == 2);

template <bool kWhole, int... P>
inline __attribute__((always_inline)) void all_turns(const Stage& stage, const __m512 (&scale_w)[kProducts],
                                                     std::integer_sequence<int, P...>) {
  const float* scale_x = stage.step.scale_x;
  (turn<kWhole, P>(stage, scale_w, scale_x), ...);
}

// This is a separate function so that its values stay in registers. It copies the stage so that settle_memory() does
// not make the compiler read it again.
template <bool kWhole>
__attribute__((noinline)) void run(const Stage& described) {
  const Stage stage = described;
  __m512 scale_w[kProducts];
#pragma GCC unroll 8
  for (int p = 0; p < kProducts; ++p) scale_w[p] = _mm512_load_ps(stage.step.w->scale[p]);
  all_turns<kWhole>(stage, scale_w, std::make_integer_sequence<int, kProducts>());
}

// Runs steps 0 to n - 1. `step_at(i)` describes step i. It is called in order, and may reuse the memory of step i - 3.
template <class StepAt>
void run_steps(int n, const Tokens& x, Sums (&sums)[2], StepAt step_at) {
  Stage stage = {&sums[1], &sums[0], {}, step_at(0), {}, x.stride, x.scales};
  stage.step = stage.next;
  stage.step.groups = 0;  // nothing to scale before the first sums are stored
  stage.after_next = n > 1 ? step_at(1) : stage.next;
  multiply<0>(stage.next.x, stage.next.w, x.stride);
  multiply<1>(stage.next.x, stage.next.w, x.stride);
  multiply<2>(stage.next.x, stage.next.w, x.stride);
  for (int i = -1; i < n; ++i) {
    if (stage.step.groups == kGroups)
      run<true>(stage);
    else
      run<false>(stage);
    stage.sums = &sums[(i + 1) & 1];
    stage.next_sums = &sums[i & 1];
    stage.step = stage.next;
    stage.next = stage.after_next;
    if (i + 3 < n) stage.after_next = step_at(i + 3);  // past the end the last step is repeated without effect
  }
}

// Unpacks up to kBlocks blocks of four row tiles from block `first` on.
void unpack(const Rows& rows, int first, int groups, Block* blocks) {
  for (int b = 0; b < kBlocks && (first + b) * kGroups < groups; ++b) {
    const Q8Block* tiles[2 * kPanels];
    for (int i = 0; i < 2 * kPanels; ++i) tiles[i] = rows.block<Q8Block>(i, first + b);
    unpack(tiles, min(kGroups, groups - (first + b) * kGroups), blocks[b]);
  }
  settle_memory();
}

// Four row tiles against kTokens to kTokenBlock tokens.
void multiply_rows(const Rows& rows, const Tokens& x, int first_token, int n, float* y, int64_t ldy, Scratch& scratch) {
  const int groups = ceil_div(rows.w.cols, kGroup), blocks = ceil_div(groups, kGroups);
  const int token_tiles = ceil_div(n, kTokens);
  std::memset(scratch.acc, 0, sizeof(scratch.acc[0]) * static_cast<size_t>(token_tiles * kTokens));
  int first_block = 0, b = 0, token_tile = 0;
  run_steps(token_tiles * blocks, x, scratch.sums, [&](int) {
    Block* half = scratch.blocks[first_block / kBlocks % 2];
    const int here = min(kBlocks, blocks - first_block);
    if (token_tile == 0 && b == 0) unpack(rows, first_block, groups, half);
    const int group = (first_block + b) * kGroups;
    const int64_t t = first_token + first_token_of(token_tile, n);
    const Step step = {x.q + t * x.stride + group * kGroup, x.scale + t * x.scales + group, half + b,
                       scratch.acc + token_tile * kTokens, min(kGroups, groups - group)};
    fetch_weights<Q8Block>(rows, min(first_block + kBlocks, blocks), kBlocks, token_tile * here + b,
                           token_tiles * here);
    fetch_tokens(step.x + kTokens * x.stride, x.stride, Q8Block::kCols);
    fetch_outputs(y + first_token_of(token_tile, n) * ldy, ldy, first_block + b, blocks);
    if (++b == here) {
      b = 0;
      if (++token_tile == token_tiles) {
        token_tile = 0;
        first_block += kBlocks;
      }
    }
    return step;
  });
  for (int i = 0; i < token_tiles; ++i)
    for (int t = 0; t < kTokens; ++t) {
      const float* acc = scratch.acc[i * kTokens + t];
      rows.store(_mm512_load_ps(acc), _mm512_load_ps(acc + kRows), y + (first_token_of(i, n) + t) * ldy);
    }
}

}  // namespace

void q8::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < kLeastTokens) {
    avx512vnni::q8::matmul(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
    return;
  }
  multiply(kGroup, multiply_rows, w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

}  // namespace qwen3cpu::amx
