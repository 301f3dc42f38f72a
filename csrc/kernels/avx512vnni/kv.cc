// Attention of many query rows to one block of keys and values, 16 lanes wide. A block is widened to float once, keys
// with all 64 positions of a dimension side by side. Then four rows at a time share every load. Few rows read the
// stored block directly (kv_rows.h).
#include <immintrin.h>

#include "kernels/avx512vnni/kernels.h"
#include "kernels/avx512vnni/kv_rows.h"

namespace qwen3cpu::avx512vnni {
namespace {

constexpr int kVectors = kKvBlock / kWide;  // registers of scores of one row
constexpr int kBatch = 128;                 // rows for which a block is widened: 32 KiB of scores

// [8 groups][dim][8 positions] -> [dim][64 positions], two groups at a time: a whole cache line of `to`.
template <class Kv>
void widen_keys(const typename Kv::Stored* from, int dim, float* to) {
  const int64_t group = int64_t{dim} * avx2::kLanes;
  for (int p = 0; p < kKvBlock; p += kWide)
    for (int d = 0; d < dim; ++d)
      _mm512_store_ps(to + d * kKvBlock + p, Kv::load_two(from + int64_t{p} * dim + d * avx2::kLanes, group));
}

template <class Kv>
void widen_values(const typename Kv::Stored* from, int dim, float* to) {
  for (int i = 0; i < kKvBlock * dim; i += kWide) _mm512_store_ps(to + i, Kv::load_wide(from + i));
}

// Scores of the first 16 N positions for R rows. Those at or above a row's count are garbage, which soften() ignores.
template <int R, int N>
void score_rows(const float* q, const float* keys, int dim, float* score) {
  __m512 acc[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) acc[r][i] = _mm512_setzero_ps();
#pragma GCC unroll 2
  for (int d = 0; d < dim; ++d) {
    __m512 kd[N];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) kd[i] = _mm512_load_ps(keys + d * kKvBlock + i * kWide);
    add_products<R, N>(q + d, dim, kd, acc);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) _mm512_store_ps(score + r * kKvBlock + i * kWide, acc[r][i]);
}

// By the number of registers that a row's positions take.
using ScoreRows = decltype(&score_rows<1, 1>);
template <int R>
constexpr ScoreRows kScoreVectors[kVectors + 1] = {nullptr, score_rows<R, 1>, score_rows<R, 2>, score_rows<R, 3>,
                                                   score_rows<R, 4>};
constexpr const ScoreRows* kScoreRows[kTile + 1] = {nullptr, kScoreVectors<1>, kScoreVectors<2>, kScoreVectors<3>,
                                                    kScoreVectors<4>};

// Prefetches part `i` of `parts` of a plane into L2, from where it is widened. A block is read once, and its order in
// memory tells the hardware prefetchers little.
template <class Kv>
inline void fetch_part(const typename Kv::Stored* plane, int dim, int i, int parts) {
  constexpr int kPerLine = kCacheLine / static_cast<int>(sizeof(typename Kv::Stored));
  const int lines = ceil_div(kKvBlock * dim, kPerLine), step = ceil_div(lines, parts);
  for (int line = i * step; line < (i + 1) * step && line < lines; ++line)
    _mm_prefetch(reinterpret_cast<const char*>(plane + line * kPerLine), _MM_HINT_T1);
}

// Attention of up to kBatch rows: all scores first, then all sums of values. So keys and values use the same 32 KiB in
// turn, which stay in L1.
template <class Kv>
void attend_batch(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* values,
                  const typename Kv::Stored* next_keys, const int* count, int n_rows, int dim, SoftmaxState* state,
                  float* out, float* wide) {
  alignas(64) float e[kBatch * kKvBlock];
  alignas(64) float correction[kBatch] = {};
  const int tiles = ceil_div(n_rows, kTile);
  widen_keys<Kv>(keys, dim, wide);
  for (int row = 0; row < n_rows; row += kTile) {
    const int rows = n_rows - row < kTile ? n_rows - row : kTile;
    fetch_part<Kv>(values, dim, row / kTile, tiles);
    const int most = most_positions(count + row, rows);
    if (most > 0) kScoreRows[rows][ceil_div(most, kWide)](q + int64_t{row} * dim, wide, dim, e + row * kKvBlock);
  }
  for (int row = 0; row < n_rows; ++row) kv::scale_positions<Kv>(keys, count[row], dim, e + row * kKvBlock);
  soften(e, count, n_rows, state, correction);
  for (int row = 0; row < n_rows; ++row) kv::scale_positions<Kv>(values, count[row], dim, e + row * kKvBlock);
  widen_values<Kv>(values, dim, wide);
  for (int row = 0; row < n_rows; row += kTile) {
    const int rows = n_rows - row < kTile ? n_rows - row : kTile;
    fetch_part<Kv>(next_keys, dim, row / kTile, tiles);
    kWeighTile<F32>[rows](e + row* kKvBlock, correction + row, wide, nullptr, count + row, dim,
                          out + int64_t{row}* dim);
  }
}

template <class Kv>
void attend_block(const float* q, const void* k, const void* v, const int* count, int n_rows, int dim,
                  SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  const auto* keys = static_cast<const typename Kv::Stored*>(k);
  const auto* values = static_cast<const typename Kv::Stored*>(v);
  const auto* next_keys = static_cast<const typename Kv::Stored*>(next_k != nullptr ? next_k : k);
  if (n_rows < kRowsToWiden) return attend_few<Kv>(q, keys, values, next_keys, count, n_rows, dim, state, out);
  for (int row = 0; row < n_rows; row += kBatch) {
    const int64_t offset = int64_t{row} * dim;
    attend_batch<Kv>(q + offset, keys, values, next_keys, count + row, n_rows - row < kBatch ? n_rows - row : kBatch,
                     dim, state + row, out + offset, reinterpret_cast<float*>(scratch));
  }
}

}  // namespace

void kv_f32::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  attend_block<F32>(q, k, v, count, n_rows, head_dim_padded, state, out, scratch, next_k);
}

void kv_f16::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  attend_block<F16>(q, k, v, count, n_rows, head_dim_padded, state, out, scratch, next_k);
}

void kv_q8::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                   SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  attend_block<Q8>(q, k, v, count, n_rows, head_dim_padded, state, out, scratch, next_k);
}

}  // namespace qwen3cpu::avx512vnni
