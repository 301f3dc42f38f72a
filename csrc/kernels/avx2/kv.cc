// Attention of query rows to one block of keys and values, and writing into a block.
//
// Scores have one position per lane, so that the chain over d needs no horizontal sums; values have one d per lane. Two
// query rows share every load of keys and values.
#include <cstddef>

#include "exp.h"

namespace qwen3cpu::avx2 {
namespace {

constexpr int kLanes = 8;
constexpr int kVectors = kKvBlock / kLanes;  // vectors of scores of one row
// From this many rows on it pays to widen an f16 block once instead of at every load.
constexpr int kRowsToWiden = 6;

struct F32 {
  using Stored = float;
  static __m256 load(const float* p) { return _mm256_loadu_ps(p); }
};

struct F16 {
  using Stored = uint16_t;
  static __m256 load(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

// Scores of N vectors of positions from `vector` on for R rows; q: [R][dim], score: [R][64].
template <class Kv, int R, int N>
inline void score_vectors(const float* q, const typename Kv::Stored* k, int vector, int dim, float* score) {
  __m256 acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i) acc[r][i] = _mm256_setzero_ps();
  const auto* keys = k + int64_t{vector} * dim * kLanes;
  const int64_t next_vector = int64_t{dim} * kLanes;
  for (int d = 0; d < dim; ++d) {
    __m256 qd[R];
    for (int r = 0; r < R; ++r) qd[r] = _mm256_set1_ps(q[int64_t{r} * dim + d]);
    for (int i = 0; i < N; ++i) {
      const __m256 kd = Kv::load(keys + i * next_vector + d * kLanes);
      for (int r = 0; r < R; ++r) acc[r][i] = _mm256_fmadd_ps(qd[r], kd, acc[r][i]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i) _mm256_storeu_ps(score + r * kKvBlock + (vector + i) * kLanes, acc[r][i]);
}

// Turns one row's scores into exponentials and moves its state on; returns the factor for what was summed before.
float soften(float* score, int count, SoftmaxState& state) {
  const int vectors = ceil_div(count, kLanes);
  const __m256 lowest = _mm256_set1_ps(-__builtin_inff());
  const __m256i last = first_lanes(count - (vectors - 1) * kLanes);
  __m256 max = _mm256_set1_ps(state.max);
  for (int i = 0; i < vectors; ++i) {
    __m256 s = _mm256_loadu_ps(score + i * kLanes);
    if (i == vectors - 1) s = _mm256_blendv_ps(lowest, s, _mm256_castsi256_ps(last));
    max = _mm256_max_ps(s, max);
  }
  max = _mm256_max_ps(max, _mm256_permute2f128_ps(max, max, 1));
  max = _mm256_max_ps(max, _mm256_shuffle_ps(max, max, 0x4e));
  max = _mm256_max_ps(max, _mm256_shuffle_ps(max, max, 0xb1));
  max = _mm256_add_ps(max, _mm256_setzero_ps());
  __m256 total = _mm256_setzero_ps();
  for (int i = 0; i < vectors; ++i) {
    __m256 e = exponential(_mm256_sub_ps(_mm256_loadu_ps(score + i * kLanes), max));
    if (i == vectors - 1) e = _mm256_and_ps(e, _mm256_castsi256_ps(last));
    total = _mm256_add_ps(total, e);
    _mm256_storeu_ps(score + i * kLanes, e);
  }
  const float new_max = _mm256_cvtss_f32(max);
  const float correction = exponential(state.max - new_max);
  state.sum = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(state.sum), _mm_set_ss(correction), _mm_set_ss(sum_lanes(total))));
  state.max = new_max;
  return correction;
}

// out[r][0, 8 N) += sum over p in [first, last) of e[r][p] * v[p][0, 8 N)
template <class Kv, int R, int N>
inline void add_values(const float* e, const typename Kv::Stored* v, int first, int last, int dim,
                       __m256 (&acc)[R][N]) {
  for (int p = first; p < last; ++p) {
    __m256 ep[R];
    for (int r = 0; r < R; ++r) ep[r] = _mm256_set1_ps(e[r * kKvBlock + p]);
    for (int i = 0; i < N; ++i) {
      const __m256 vp = Kv::load(v + int64_t{p} * dim + i * kLanes);
      for (int r = 0; r < R; ++r) acc[r][i] = _mm256_fmadd_ps(ep[r], vp, acc[r][i]);
    }
  }
}

// 8 N dimensions of R rows that attend to the same `count` positions.
template <class Kv, int R, int N>
inline void weigh_values(const float* e, const float (&correction)[R], const typename Kv::Stored* v, int count, int dim,
                         float* out) {
  __m256 acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i)
      acc[r][i] = _mm256_mul_ps(_mm256_loadu_ps(out + int64_t{r} * dim + i * kLanes), _mm256_set1_ps(correction[r]));
  add_values<Kv, R, N>(e, v, 0, count, dim, acc);
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + int64_t{r} * dim + i * kLanes, acc[r][i]);
}

// R rows with the same count.
template <class Kv, int R>
void attend_rows(const float* q, const typename Kv::Stored* k, const typename Kv::Stored* v, int count, int dim,
                 SoftmaxState* state, float* out) {
  alignas(32) float e[R * kKvBlock];
  const int vectors = ceil_div(count, kLanes);
  int vector = 0;
  for (; vector + 4 <= vectors; vector += 4) score_vectors<Kv, R, 4>(q, k, vector, dim, e);
  for (; vector < vectors; ++vector) score_vectors<Kv, R, 1>(q, k, vector, dim, e);
  float correction[R];
  for (int r = 0; r < R; ++r) correction[r] = soften(e + r * kKvBlock, count, state[r]);
  int d = 0;
  for (; d + 4 * kLanes <= dim; d += 4 * kLanes) weigh_values<Kv, R, 4>(e, correction, v + d, count, dim, out + d);
  for (; d < dim; d += kLanes) weigh_values<Kv, R, 1>(e, correction, v + d, count, dim, out + d);
}

template <class Kv>
void attend_block(const float* q, const typename Kv::Stored* k, const typename Kv::Stored* v, const int* count,
                  int n_rows, int dim, SoftmaxState* state, float* out) {
  for (int row = 0; row < n_rows;) {
    const int64_t offset = int64_t{row} * dim;
    const bool pair = row + 1 < n_rows && count[row] == count[row + 1];
    if (count[row] > 0) {
      auto* attend = pair ? attend_rows<Kv, 2> : attend_rows<Kv, 1>;
      attend(q + offset, k, v, count[row], dim, state + row, out + offset);
    }
    row += pair ? 2 : 1;
  }
}

void widen(const uint16_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; i += kLanes) _mm256_storeu_ps(to + i, F16::load(from + i));
}

}  // namespace

void kv_f32::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t*) {
  attend_block<F32>(q, static_cast<const float*>(k), static_cast<const float*>(v), count, n_rows, head_dim_padded,
                    state, out);
}

void kv_f16::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t* scratch) {
  const auto* keys = static_cast<const uint16_t*>(k);
  const auto* values = static_cast<const uint16_t*>(v);
  if (n_rows < kRowsToWiden) {
    attend_block<F16>(q, keys, values, count, n_rows, head_dim_padded, state, out);
    return;
  }
  int most = 0;
  for (int row = 0; row < n_rows; ++row) most = count[row] > most ? count[row] : most;
  auto* wide_keys = reinterpret_cast<float*>(scratch);
  float* wide_values = wide_keys + int64_t{kKvBlock} * head_dim_padded;
  widen(keys, int64_t{ceil_div(most, kLanes)} * kLanes * head_dim_padded, wide_keys);
  widen(values, int64_t{most} * head_dim_padded, wide_values);
  attend_block<F32>(q, wide_keys, wide_values, count, n_rows, head_dim_padded, state, out);
}

void kv_f32::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  float* keys = static_cast<float*>(k) + int64_t{slot / kLanes} * head_dim_padded * kLanes + slot % kLanes;
  for (int d = 0; d < head_dim_padded; ++d) keys[d * kLanes] = key[d];
  std::memcpy(static_cast<float*>(v) + int64_t{slot} * head_dim_padded, value,
              sizeof(float) * static_cast<size_t>(head_dim_padded));
}

void kv_f16::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  constexpr int nearest_even = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  uint16_t* keys = static_cast<uint16_t*>(k) + int64_t{slot / kLanes} * head_dim_padded * kLanes + slot % kLanes;
  uint16_t* values = static_cast<uint16_t*>(v) + int64_t{slot} * head_dim_padded;
  for (int d = 0; d < head_dim_padded; d += kLanes) {
    alignas(16) uint16_t halves[kLanes];
    _mm_store_si128(reinterpret_cast<__m128i*>(halves), _mm256_cvtps_ph(_mm256_loadu_ps(key + d), nearest_even));
    for (int i = 0; i < kLanes; ++i) keys[(d + i) * kLanes] = halves[i];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(values + d), _mm256_cvtps_ph(_mm256_loadu_ps(value + d), nearest_even));
  }
}

}  // namespace qwen3cpu::avx2
