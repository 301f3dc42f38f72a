// Attention of many query rows to one block of keys and values, 16 lanes wide. A block is widened to float once, keys
// with all 64 positions of a dimension side by side; then four rows at a time share every load. Few rows go to the AVX2
// kernel, which reads the block as it is.
#include "../avx2/kv_vectors.h"
#include "../avx2/softmax.h"
#include "kernels.h"

namespace qwen3cpu::amx {
namespace {

using avx2::F16;
using avx2::F32;
using avx2::Q8;

constexpr int kWide = 16;                   // floats of a register
constexpr int kVectors = kKvBlock / kWide;  // registers of scores of one row
constexpr int kRowsToWiden = 8;             // widening costs as much as two rows; measured against the AVX2 kernel

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
    for (int i = 0; i < kVectors; ++i) kd[i] = _mm512_load_ps(keys + d * kKvBlock + i * kWide);
    for (int r = 0; r < R; ++r) {
      const __m512 qd = _mm512_set1_ps(q[int64_t{r} * dim + d]);
      for (int i = 0; i < kVectors; ++i) acc[r][i] = _mm512_fmadd_ps(qd, kd[i], acc[r][i]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < kVectors; ++i) _mm512_store_ps(score + r * kKvBlock + i * kWide, acc[r][i]);
}

// out[r][0, 16 N) = out * correction + sum over p of e[r][p] * v[p][0, 16 N), p ascending below count; the lanes in
// `mask` of each register.
template <int R, int N>
inline void weigh(const float* e, const float* correction, const float* values, int count, int dim, __mmask16 mask,
                  float* out) {
  __m512 acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i)
      acc[r][i] =
          _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, out + int64_t{r} * dim + i * kWide), _mm512_set1_ps(correction[r]));
  for (int p = 0; p < count; ++p) {
    __m512 vp[N];
    for (int i = 0; i < N; ++i) vp[i] = _mm512_maskz_loadu_ps(mask, values + int64_t{p} * dim + i * kWide);
    for (int r = 0; r < R; ++r) {
      const __m512 ep = _mm512_set1_ps(e[r * kKvBlock + p]);
      for (int i = 0; i < N; ++i) acc[r][i] = _mm512_fmadd_ps(ep, vp[i], acc[r][i]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i) _mm512_mask_storeu_ps(out + int64_t{r} * dim + i * kWide, mask, acc[r][i]);
}

// R rows that attend to the same `count` positions. keys, values: widened; k, v: the planes they come from.
template <class Kv, int R>
void attend_rows(const float* q, const float* keys, const float* values, const typename Kv::Stored* k,
                 const typename Kv::Stored* v, int count, int dim, SoftmaxState* state, float* out) {
  alignas(64) float e[R * kKvBlock];
  score_rows<R>(q, keys, dim, e);
  float correction[R];
  for (int r = 0; r < R; ++r) {
    avx2::scale_positions<Kv>(k, count, dim, e + r * kKvBlock);
    correction[r] = avx2::soften(e + r * kKvBlock, count, state[r]);
    avx2::scale_positions<Kv>(v, count, dim, e + r * kKvBlock);
  }
  constexpr __mmask16 all = 0xffff;
  int d = 0;
  for (; d + 4 * kWide <= dim; d += 4 * kWide) weigh<R, 4>(e, correction, values + d, count, dim, all, out + d);
  for (; d + kWide <= dim; d += kWide) weigh<R, 1>(e, correction, values + d, count, dim, all, out + d);
  if (d < dim) weigh<R, 1>(e, correction, values + d, count, dim, 0x00ff, out + d);  // dim is a multiple of 8
}

template <class Kv>
void attend_block(const float* q, const void* k, const void* v, const int* count, int n_rows, int dim,
                  SoftmaxState* state, float* out, uint8_t* scratch) {
  const auto* stored_keys = static_cast<const typename Kv::Stored*>(k);
  const auto* stored_values = static_cast<const typename Kv::Stored*>(v);
  int most = 0;
  for (int row = 0; row < n_rows; ++row) most = count[row] > most ? count[row] : most;
  auto* keys = reinterpret_cast<float*>(scratch);
  float* values = keys + int64_t{kKvBlock} * dim;
  widen_keys<Kv>(stored_keys, most, dim, keys);
  widen_values<Kv>(stored_values, most, dim, values);
  for (int row = 0; row < n_rows;) {
    int same = 1;
    while (same < 4 && row + same < n_rows && count[row + same] == count[row]) ++same;
    const int rows = same == 3 ? 2 : same;
    if (count[row] > 0) {
      const auto attend = rows == 4 ? attend_rows<Kv, 4> : rows == 2 ? attend_rows<Kv, 2> : attend_rows<Kv, 1>;
      const int64_t offset = int64_t{row} * dim;
      attend(q + offset, keys, values, stored_keys, stored_values, count[row], dim, state + row, out + offset);
    }
    row += rows;
  }
}

}  // namespace

void kv_f32::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t* scratch) {
  const auto attend = n_rows < kRowsToWiden ? avx2::kv_f32::attend : attend_block<F32>;
  attend(q, k, v, count, n_rows, head_dim_padded, state, out, scratch);
}

void kv_f16::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t* scratch) {
  const auto attend = n_rows < kRowsToWiden ? avx2::kv_f16::attend : attend_block<F16>;
  attend(q, k, v, count, n_rows, head_dim_padded, state, out, scratch);
}

void kv_q8::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                   SoftmaxState* state, float* out, uint8_t* scratch) {
  const auto attend = n_rows < kRowsToWiden ? avx2::kv_q8::attend : attend_block<Q8>;
  attend(q, k, v, count, n_rows, head_dim_padded, state, out, scratch);
}

}  // namespace qwen3cpu::amx
