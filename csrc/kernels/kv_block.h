// Attention of query rows to one block of keys and values, and writing into a block. The body of avx2/kv.cc and
// neon/kv.cc, for registers of eight floats. Internal linkage.
//
// Scores have one position per lane, so that the chain over d needs no horizontal sums. Values have one d per lane. Up
// to four query rows share every load of keys and values. Widening an f16 block to f32 first does not pay, not even for
// many rows: writing and reading 64 KiB costs as much as the conversions.
//
// Kv is a KV format of an ISA: Stored, kScaled, load(p), and Simd with
//   Vector, Factor       eight floats; what a scalar factor becomes
//   all(x), load(p), store(p, v), multiply(a, b), factor(x), fma(factor, v, acc)
//   pin(v)               keeps v in a register, where the compiler has to be told so
//   kFetchesAhead, fetch(p, bytes)   whether and how the other plane is fetched meanwhile
//   kChains<R>           vectors that R rows work on at a time
//   soften(scores, count, state)     one step of the online softmax
#pragma once

#include <cstring>

#include "kernels/block_scale.h"
#include "kernels/table.h"

namespace qwen3cpu::kv {
namespace {

constexpr int kLanes = 8;

// Prefetches a step of the next plane: the values during the scores, the next block's keys while the values are summed.
// A decoded token reads a block only once, so it is limited by memory. The order in which keys and values are read
// tells the hardware prefetchers little.
template <class Kv, int N>
inline __attribute__((always_inline)) void fetch_step(const typename Kv::Stored* ahead) {
  constexpr int kStepBytes = N * kLanes * static_cast<int>(sizeof(typename Kv::Stored));
  if constexpr (Kv::Simd::kFetchesAhead)
    for (int byte = 0; byte < kStepBytes; byte += kCacheLine) Kv::Simd::fetch(ahead, byte);
}

// acc[r][i] += factors[r * stride] * v[i]
template <class Kv, int R, int N>
inline __attribute__((always_inline)) void add_products(const float* factors, int64_t stride,
                                                        const typename Kv::Stored* v, int64_t apart,
                                                        typename Kv::Simd::Vector (&acc)[R][N]) {
  using Simd = typename Kv::Simd;
  if constexpr (R == 1) {  // loads one vector after the other, because N at once would not fit into the registers
    const typename Simd::Factor factor = Simd::factor(*factors);
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) acc[0][i] = Simd::fma(factor, Kv::load(v + i * apart), acc[0][i]);
  } else {
    typename Simd::Vector loaded[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      loaded[i] = Kv::load(v + i * apart);
      Simd::pin(loaded[i]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const typename Simd::Factor factor = Simd::factor(factors[r * stride]);
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i) acc[r][i] = Simd::fma(factor, loaded[i], acc[r][i]);
    }
  }
}

template <class Simd, int R, int N>
inline __attribute__((always_inline)) void store_all(const typename Simd::Vector (&acc)[R][N], float* to,
                                                     int64_t stride) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) Simd::store(to + r * stride + i * kLanes, acc[r][i]);
}

// Scores of N vectors of positions for R rows; q: [R][dim], score: [R][64]. ahead: values to prefetch, as many as keys
// are read.
template <class Kv, int R, int N>
inline void score_vectors(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* ahead, int dim,
                          float* score) {
  using Simd = typename Kv::Simd;
  typename Simd::Vector acc[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) acc[r][i] = Simd::all(0.0f);
  for (int d = 0; d < dim; ++d) {
    fetch_step<Kv, N>(ahead + int64_t{d} * N * kLanes);
    add_products<Kv, R, N>(q + d, dim, keys + int64_t{d} * kLanes, int64_t{dim} * kLanes, acc);
  }
  store_all<Simd>(acc, score, kKvBlock);
}

// Scores of the first `vectors` vectors of positions for R rows.
template <class Kv, int R>
inline void score_rows(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* ahead, int vectors,
                       int dim, float* score) {
  constexpr int N = Kv::Simd::template kChains<R>;
  const int64_t next = int64_t{dim} * kLanes;
  int i = 0;
  for (; i + N <= vectors; i += N)
    score_vectors<Kv, R, N>(q, keys + i * next, ahead + i * next, dim, score + i * kLanes);
  for (; i + 2 <= vectors; i += 2)
    score_vectors<Kv, R, 2>(q, keys + i * next, ahead + i * next, dim, score + i * kLanes);
  if (i < vectors) score_vectors<Kv, R, 1>(q, keys + i * next, ahead + i * next, dim, score + i * kLanes);
}

// `out[r][0, 8 N) = out * correction + sum over p of e[r][p] * v[p][0, 8 N)`, p ascending below count. ahead: keys to
// prefetch, as many as values are read.
template <class Kv, int R, int N>
inline void weigh_vectors(const float* e, const float* correction, const typename Kv::Stored* v,
                          const typename Kv::Stored* ahead, int count, int dim, float* out) {
  using Simd = typename Kv::Simd;
  typename Simd::Vector acc[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i)
      acc[r][i] = Simd::multiply(Simd::load(out + int64_t{r} * dim + i * kLanes), Simd::all(correction[r]));
  for (int p = 0; p < count; ++p) {
    fetch_step<Kv, N>(ahead + int64_t{p} * N * kLanes);
    add_products<Kv, R, N>(e + p, kKvBlock, v + int64_t{p} * dim, kLanes, acc);
  }
  store_all<Simd>(acc, out, dim);
}

// Multiplies x[p] by the scale of position p, in the vectors that hold any of `count` positions. Does nothing for
// formats without scales. Scales follow the plane's data.
template <class Kv>
inline void scale_positions(const typename Kv::Stored* plane, int count, int dim, float* x) {
  using Simd = typename Kv::Simd;
  if constexpr (Kv::kScaled) {
    const auto* scales = reinterpret_cast<const float*>(plane + int64_t{kKvBlock} * dim);
    for (int p = 0; p < count; p += kLanes)
      Simd::store(x + p, Simd::multiply(Simd::load(x + p), Simd::load(scales + p)));
  }
}

// R rows that attend to the same `count` positions.
template <class Kv, int R>
void attend_rows(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* values,
                 const typename Kv::Stored* next_keys, int count, int dim, SoftmaxState* state, float* out) {
  alignas(32) float e[R * kKvBlock];
  score_rows<Kv, R>(q, keys, values, ceil_div(count, kLanes), dim, e);
  float correction[R];
  for (int r = 0; r < R; ++r) {
    scale_positions<Kv>(keys, count, dim, e + r * kKvBlock);
    correction[r] = Kv::Simd::soften(e + r * kKvBlock, count, state[r]);
    scale_positions<Kv>(values, count, dim, e + r * kKvBlock);
  }
  constexpr int N = Kv::Simd::template kChains<R>;
  int d = 0;
  for (; d + N * kLanes <= dim; d += N * kLanes)
    weigh_vectors<Kv, R, N>(e, correction, values + d, next_keys + int64_t{d} * kKvBlock, count, dim, out + d);
  for (; d + 2 * kLanes <= dim; d += 2 * kLanes)
    weigh_vectors<Kv, R, 2>(e, correction, values + d, next_keys + int64_t{d} * kKvBlock, count, dim, out + d);
  if (d < dim)
    weigh_vectors<Kv, R, 1>(e, correction, values + d, next_keys + int64_t{d} * kKvBlock, count, dim, out + d);
}

// An AttendFn.
template <class Kv>
inline void attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int dim,
                   SoftmaxState* state, float* out, const void* next_k) {
  const auto* keys = static_cast<const typename Kv::Stored*>(k);
  const auto* next_keys = static_cast<const typename Kv::Stored*>(next_k != nullptr ? next_k : k);
  const auto* values = static_cast<const typename Kv::Stored*>(v);
  for (int row = 0; row < n_rows;) {
    int same = 1;
    while (same < 4 && row + same < n_rows && count[row + same] == count[row]) ++same;
    const int rows = same == 3 ? 2 : same;
    if (count[row] > 0) {
      const auto attend_some = rows == 4 ? attend_rows<Kv, 4> : rows == 2 ? attend_rows<Kv, 2> : attend_rows<Kv, 1>;
      const int64_t offset = int64_t{row} * dim;
      attend_some(q + offset, keys, values, next_keys, count[row], dim, state + row, out + offset);
    }
    row += rows;
  }
}

// The first value of position `slot` in a block of keys; the next dimension's is 8 further on.
template <class Stored>
inline Stored* key_of(void* keys, int slot, int dim) {
  return static_cast<Stored*>(keys) + int64_t{slot / kLanes} * dim * kLanes + slot % kLanes;
}

// A StoreKvFn. to_stored(p, x, of_value) writes eight floats x as they are stored.
template <class Kv, class ToStored>
inline void store(const float* key, const float* value, int slot, int dim, void* k, void* v, ToStored&& to_stored) {
  using Stored = typename Kv::Stored;
  Stored* keys = key_of<Stored>(k, slot, dim);
  Stored* values = static_cast<Stored*>(v) + int64_t{slot} * dim;
  for (int d = 0; d < dim; d += kLanes) {
    alignas(32) Stored of_key[kLanes];
    to_stored(of_key, key + d, false);
    for (int i = 0; i < kLanes; ++i) keys[(d + i) * kLanes] = of_key[i];
    to_stored(values + d, value + d, true);
  }
}

// Writes the scale of position `slot` behind a plane's data.
inline void store_scale(void* plane, int64_t data_bytes, int slot, float scale) {
  std::memcpy(static_cast<uint8_t*>(plane) + data_bytes + slot * int64_t{sizeof(scale)}, &scale, sizeof(scale));
}

}  // namespace
}  // namespace qwen3cpu::kv
