// Up to four query rows that share every load of a block of keys or values, 16 lanes wide. Internal linkage.
//
// Kv::load_wide and Kv::load_two read stored keys and values. F32 also reads a block that was widened. Pragmas unroll
// the loops over rows and registers. Otherwise GCC 12 keeps the sums in registers inside the loop over d, but moves
// them there and back through memory, which takes a fifth of the time.
#pragma once

#include "kernels/avx512vnni/kv_vectors.h"

namespace qwen3cpu::avx512vnni {
namespace {

constexpr int kTile = 4;          // rows that share a load
constexpr int kRowsToWiden = 32;  // rows from which widening a block pays

// Prefetches a step of the next plane, as kv::fetch_step.
template <class Kv, int N>
inline __attribute__((always_inline)) void fetch_step(const typename Kv::Stored* ahead) {
  kv::fetch_step<Kv, 2 * N>(ahead);
}

// acc[r][i] += factors[r * stride] * v[i]
template <int R, int N>
inline __attribute__((always_inline)) void add_products(const float* factors, int64_t stride, __m512 (&v)[N],
                                                        __m512 (&acc)[R][N]) {
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) pin(v[i]);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const __m512 factor = _mm512_set1_ps(factors[r * stride]);
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) acc[r][i] = _mm512_fmadd_ps(factor, v[i], acc[r][i]);
  }
}

// Scores of 16 N positions for R rows; keys: [2 N groups][dim][8 positions]. ahead: values to prefetch, as many as keys
// are read.
template <class Kv, int R, int N>
inline void score_stored(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* ahead, int dim,
                         float* score) {
  __m512 acc[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) acc[r][i] = _mm512_setzero_ps();
  const int64_t group = int64_t{dim} * avx2::kLanes;
#pragma GCC unroll 2
  for (int d = 0; d < dim; ++d) {
    fetch_step<Kv, N>(ahead + int64_t{d} * N * kWide);
    __m512 kd[N];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) kd[i] = Kv::load_two(keys + 2 * i * group + int64_t{d} * avx2::kLanes, group);
    add_products<R, N>(q + d, dim, kd, acc);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) _mm512_store_ps(score + r * kKvBlock + i * kWide, acc[r][i]);
}

// Scores of the first `pairs` times 16 positions.
template <class Kv, int R>
void score_some(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* ahead, int pairs, int dim,
                float* score) {
  if (pairs == kKvBlock / kWide) return score_stored<Kv, R, kKvBlock / kWide>(q, keys, ahead, dim, score);
  for (int i = 0; i < pairs; ++i) {
    const int64_t offset = int64_t{i} * kWide * dim;
    score_stored<Kv, R, 1>(q, keys + offset, ahead + offset, dim, score + i * kWide);
  }
}

// `out[r][0, 16 N) = out * correction + sum over p of e[r][p] * v[p][0, 16 N)`, p ascending below count. ahead: keys to
// prefetch, as many as values are read; nullptr: none.
template <class Kv, int R, int N, bool Whole = true>
inline void weigh(const float* e, const float* correction, const typename Kv::Stored* values,
                  const typename Kv::Stored* ahead, int count, int dim, float* out) {
  __m512 acc[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i)
      acc[r][i] =
          _mm512_mul_ps(load_values<F32, Whole>(out + int64_t{r} * dim + i * kWide), _mm512_set1_ps(correction[r]));
#pragma GCC unroll 2
  for (int p = 0; p < count; ++p) {
    if (ahead != nullptr) fetch_step<Kv, N>(ahead + int64_t{p} * N * kWide);
    __m512 vp[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) vp[i] = load_values<Kv, Whole>(values + int64_t{p} * dim + i * kWide);
    add_products<R, N>(e + p, kKvBlock, vp, acc);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) store_floats<Whole>(out + int64_t{r} * dim + i * kWide, acc[r][i]);
}

template <class Kv, int R>
void weigh_rows(const float* e, const float* correction, const typename Kv::Stored* values,
                const typename Kv::Stored* ahead, int count, int dim, float* out) {
  constexpr int N = R <= 2 ? 8 : 4;
  int d = 0;
  const auto next = [&] { return ahead == nullptr ? nullptr : ahead + int64_t{d} * kKvBlock; };
  for (; d + N * kWide <= dim; d += N * kWide) weigh<Kv, R, N>(e, correction, values + d, next(), count, dim, out + d);
  for (; d + 4 * kWide <= dim; d += 4 * kWide) weigh<Kv, R, 4>(e, correction, values + d, next(), count, dim, out + d);
  for (; d + kWide <= dim; d += kWide) weigh<Kv, R, 1>(e, correction, values + d, next(), count, dim, out + d);
  if (d < dim) weigh<Kv, R, 1, false>(e, correction, values + d, next(), count, dim, out + d);
}

// Sums R rows together up to the smallest count, then each row alone. Near the diagonal the counts differ by a few.
template <class Kv, int R>
void weigh_tile(const float* e, const float* correction, const typename Kv::Stored* values,
                const typename Kv::Stored* ahead, const int* count, int dim, float* out) {
  int common = count[0];
  for (int r = 1; r < R; ++r) common = count[r] < common ? count[r] : common;
  weigh_rows<Kv, R>(e, correction, values, ahead, common, dim, out);
  constexpr float unchanged = 1.0f;
  for (int r = 0; r < R; ++r)
    if (count[r] > common)
      weigh_rows<Kv, 1>(e + r * kKvBlock + common, &unchanged, values + int64_t{common} * dim, nullptr,
                        count[r] - common, dim, out + int64_t{r} * dim);
}

template <class Kv>
constexpr decltype(&weigh_tile<Kv, 1>) kWeighTile[kTile + 1] = {nullptr, weigh_tile<Kv, 1>, weigh_tile<Kv, 2>,
                                                                weigh_tile<Kv, 3>, weigh_tile<Kv, 4>};
template <class Kv>
constexpr decltype(&score_some<Kv, 1>) kScoreSome[kTile + 1] = {nullptr, score_some<Kv, 1>, score_some<Kv, 2>,
                                                                score_some<Kv, 3>, score_some<Kv, 4>};

// The largest count of n rows.
inline int most_positions(const int* count, int n) {
  int most = 0;
  for (int row = 0; row < n; ++row) most = count[row] > most ? count[row] : most;
  return most;
}

// Attention of fewer rows than kRowsToWiden, which read the stored block directly.
template <class Kv>
void attend_few(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* values,
                const typename Kv::Stored* next_keys, const int* count, int n_rows, int dim, SoftmaxState* state,
                float* out) {
  alignas(64) float e[kRowsToWiden * kKvBlock];
  alignas(64) float correction[(kRowsToWiden + kWide - 1) / kWide * kWide] = {};
  const int most = most_positions(count, n_rows);
  for (int row = 0; row < n_rows; row += kTile) {
    const int rows = n_rows - row < kTile ? n_rows - row : kTile;
    kScoreSome<Kv>[rows](q + int64_t{row}* dim, keys, values, ceil_div(most, kWide), dim, e + row* kKvBlock);
  }
  for (int row = 0; row < n_rows; ++row) kv::scale_positions<Kv>(keys, count[row], dim, e + row * kKvBlock);
  soften(e, count, n_rows, state, correction);
  for (int row = 0; row < n_rows; ++row) kv::scale_positions<Kv>(values, count[row], dim, e + row * kKvBlock);
  for (int row = 0; row < n_rows; row += kTile) {
    const int rows = n_rows - row < kTile ? n_rows - row : kTile;
    kWeighTile<Kv>[rows](e + row* kKvBlock, correction + row, values, next_keys, count + row, dim,
                         out + int64_t{row}* dim);
  }
}

}  // namespace
}  // namespace qwen3cpu::avx512vnni
