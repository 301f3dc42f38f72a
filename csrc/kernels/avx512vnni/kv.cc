// Attention of many query rows to one block of keys and values, 16 lanes wide. A block is widened to float once, keys
// with all 64 positions of a dimension side by side; then four rows at a time share every load. Few rows go to the AVX2
// kernel, which reads the block as it is.
#include <immintrin.h>

#include "../avx2/kv_vectors.h"
#include "../avx2/softmax.h"
#include "kernels.h"

namespace qwen3cpu::avx512vnni {
namespace {

using avx2::F16;
using avx2::F32;
using avx2::Q8;

constexpr int kWide = 16;                   // floats of a register
constexpr int kVectors = kKvBlock / kWide;  // registers of scores of one row
constexpr int kRowsToWiden = 12;            // fewer rows do not earn what widening costs
constexpr int kBatch = 32;                  // rows whose scores are kept: 8 KiB

// Keeps x in a register here, as avx2::pin: GCC 12 folds the load into each use otherwise and spills the sums.
inline void pin(__m512& x) { asm("" : "+v"(x)); }

// [8 groups][dim][8 positions] -> [dim][64 positions], the groups that hold any of `count` positions.
template <class Kv>
void widen_keys(const typename Kv::Stored* from, int count, int dim, float* to) {
  constexpr int lanes = avx2::kLanes;
  for (int group = 0; group * lanes < count; ++group)
    for (int d = 0; d < dim; ++d)
      _mm256_store_ps(to + d * kKvBlock + group * lanes, Kv::load(from + (int64_t{group} * dim + d) * lanes));
}

template <class Kv>
void widen_values(const typename Kv::Stored* from, int count, int dim, float* to) {
  for (int64_t i = 0; i < int64_t{count} * dim; i += avx2::kLanes) _mm256_store_ps(to + i, Kv::load(from + i));
}

// Scores of all 64 positions for R rows; those at or above the block's count are garbage that soften() leaves out.
template <int R>
inline void score_rows(const float* q, const float* keys, int dim, float* score) {
  __m512 acc[R][kVectors];
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < kVectors; ++i) acc[r][i] = _mm512_setzero_ps();
  for (int d = 0; d < dim; ++d) {
    __m512 kd[kVectors];
    for (int i = 0; i < kVectors; ++i) {
      kd[i] = _mm512_load_ps(keys + d * kKvBlock + i * kWide);
      pin(kd[i]);
    }
    for (int r = 0; r < R; ++r) {
      const __m512 qd = _mm512_set1_ps(q[int64_t{r} * dim + d]);
      for (int i = 0; i < kVectors; ++i) acc[r][i] = _mm512_fmadd_ps(qd, kd[i], acc[r][i]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < kVectors; ++i) _mm512_store_ps(score + r * kKvBlock + i * kWide, acc[r][i]);
}

// All 16 floats at p, or the first 8: head dimensions are multiples of 8.
template <bool Whole>
inline __m512 load_floats(const float* p) {
  return Whole ? _mm512_loadu_ps(p) : _mm512_zextps256_ps512(_mm256_loadu_ps(p));
}

template <bool Whole>
inline void store_floats(float* p, __m512 x) {
  if (Whole)
    _mm512_storeu_ps(p, x);
  else
    _mm256_storeu_ps(p, _mm512_castps512_ps256(x));
}

// out[r][0, 16 N) = out * correction + sum over p of e[r][p] * v[p][0, 16 N), p ascending below count.
template <int R, int N, bool Whole = true>
inline void weigh(const float* e, const float* correction, const float* values, int count, int dim, float* out) {
  __m512 acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i)
      acc[r][i] = _mm512_mul_ps(load_floats<Whole>(out + int64_t{r} * dim + i * kWide), _mm512_set1_ps(correction[r]));
  for (int p = 0; p < count; ++p) {
    __m512 vp[N];
    for (int i = 0; i < N; ++i) {
      vp[i] = load_floats<Whole>(values + int64_t{p} * dim + i * kWide);
      pin(vp[i]);
    }
    for (int r = 0; r < R; ++r) {
      const __m512 ep = _mm512_set1_ps(e[r * kKvBlock + p]);
      for (int i = 0; i < N; ++i) acc[r][i] = _mm512_fmadd_ps(ep, vp[i], acc[r][i]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i) store_floats<Whole>(out + int64_t{r} * dim + i * kWide, acc[r][i]);
}

// Up to 4 rows that attend to the same positions: 1, 2 or 4.
struct Run {
  int first;
  int rows;
};

// Cuts rows [0, n) into runs; rows without a position are in none. Returns how many.
int cut_into_runs(const int* count, int n, Run* runs) {
  int found = 0;
  for (int row = 0; row < n;) {
    int same = 1;
    while (same < 4 && row + same < n && count[row + same] == count[row]) ++same;
    const int rows = same == 3 ? 2 : same;
    if (count[row] > 0) runs[found++] = {row, rows};
    row += rows;
  }
  return found;
}

template <int R>
void weigh_rows(const float* e, const float* correction, const float* values, int count, int dim, float* out) {
  int d = 0;
  for (; d + 4 * kWide <= dim; d += 4 * kWide) weigh<R, 4>(e, correction, values + d, count, dim, out + d);
  for (; d + kWide <= dim; d += kWide) weigh<R, 1>(e, correction, values + d, count, dim, out + d);
  if (d < dim) weigh<R, 1, false>(e, correction, values + d, count, dim, out + d);
}

// Up to kBatch rows: all scores first, then all sums of values, so that keys and values, 32 KiB each, take turns in L1.
template <class Kv>
void attend_batch(const float* q, const float* keys, const float* values, const typename Kv::Stored* k,
                  const typename Kv::Stored* v, const int* count, int n_rows, int dim, SoftmaxState* state,
                  float* out) {
  alignas(64) float e[kBatch * kKvBlock];
  float correction[kBatch];
  Run runs[kBatch];
  const int n_runs = cut_into_runs(count, n_rows, runs);
  for (int i = 0; i < n_runs; ++i) {
    const auto score = runs[i].rows == 4 ? score_rows<4> : runs[i].rows == 2 ? score_rows<2> : score_rows<1>;
    score(q + int64_t{runs[i].first} * dim, keys, dim, e + runs[i].first * kKvBlock);
  }
  for (int row = 0; row < n_rows; ++row) {
    if (count[row] == 0) continue;
    float* scores = e + row * kKvBlock;
    avx2::scale_positions<Kv>(k, count[row], dim, scores);
    correction[row] = avx2::soften(scores, count[row], state[row]);
    avx2::scale_positions<Kv>(v, count[row], dim, scores);
  }
  for (int i = 0; i < n_runs; ++i) {
    const auto weigh = runs[i].rows == 4 ? weigh_rows<4> : runs[i].rows == 2 ? weigh_rows<2> : weigh_rows<1>;
    const int row = runs[i].first;
    weigh(e + row * kKvBlock, correction + row, values, count[row], dim, out + int64_t{row} * dim);
  }
}

template <class Kv>
void attend_block(const float* q, const void* k, const void* v, const int* count, int n_rows, int dim,
                  SoftmaxState* state, float* out, uint8_t* scratch, const void*) {
  const auto* stored_keys = static_cast<const typename Kv::Stored*>(k);
  const auto* stored_values = static_cast<const typename Kv::Stored*>(v);
  int most = 0;
  for (int row = 0; row < n_rows; ++row) most = count[row] > most ? count[row] : most;
  auto* keys = reinterpret_cast<float*>(scratch);
  float* values = keys + int64_t{kKvBlock} * dim;
  widen_keys<Kv>(stored_keys, most, dim, keys);
  widen_values<Kv>(stored_values, most, dim, values);
  for (int row = 0; row < n_rows; row += kBatch) {
    const int64_t offset = int64_t{row} * dim;
    attend_batch<Kv>(q + offset, keys, values, stored_keys, stored_values, count + row,
                     n_rows - row < kBatch ? n_rows - row : kBatch, dim, state + row, out + offset);
  }
}

}  // namespace

void kv_f32::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  const auto attend = n_rows < kRowsToWiden ? avx2::kv_f32::attend : attend_block<F32>;
  attend(q, k, v, count, n_rows, head_dim_padded, state, out, scratch, next_k);
}

void kv_f16::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  const auto attend = n_rows < kRowsToWiden ? avx2::kv_f16::attend : attend_block<F16>;
  attend(q, k, v, count, n_rows, head_dim_padded, state, out, scratch, next_k);
}

void kv_q8::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                   SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  const auto attend = n_rows < kRowsToWiden ? avx2::kv_q8::attend : attend_block<Q8>;
  attend(q, k, v, count, n_rows, head_dim_padded, state, out, scratch, next_k);
}

}  // namespace qwen3cpu::avx512vnni
