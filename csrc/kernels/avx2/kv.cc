// Attention of query rows to one block of keys and values, and writing into a block.
//
// Scores have one position per lane, so that the chain over d needs no horizontal sums; values have one d per lane. Up
// to four query rows share every load of keys and values. Widening an f16 block to f32 first, for many rows, did not
// pay: 64 KiB written and read again cost as much as the conversions.
#include "kernels/avx2/kv_vectors.h"
#include "kernels/avx2/quantize.h"
#include "kernels/avx2/softmax.h"

namespace qwen3cpu::avx2 {
namespace {

// A decoded token reads a block only once: memory is what it waits for, and the order in which keys and values are read
// gives the prefetchers little to go by. So each plane is fetched while the one before it is worked on, a step at a
// time: the values during the scores, the next block's keys while the values are summed.
template <class Kv, int N>
inline void fetch_step(const typename Kv::Stored* ahead) {
  constexpr int kStepBytes = N * kLanes * static_cast<int>(sizeof(typename Kv::Stored));
  for (int byte = 0; byte < kStepBytes; byte += kCacheLine) prefetch(ahead, byte);
}

// Scores of N vectors of positions for R rows; q: [R][dim], score: [R][64]. ahead: as many values as keys are read.
template <class Kv, int R, int N>
inline void score_vectors(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* ahead, int dim,
                          float* score) {
  __m256 acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i) acc[r][i] = _mm256_setzero_ps();
  for (int d = 0; d < dim; ++d) {
    fetch_step<Kv, N>(ahead + int64_t{d} * N * kLanes);
    __m256 kd[N];
    for (int i = 0; i < N; ++i) {
      kd[i] = Kv::load(keys + (int64_t{i} * dim + d) * kLanes);
      if (R > 1) pin(kd[i]);
    }
    for (int r = 0; r < R; ++r) {
      const __m256 qd = _mm256_set1_ps(q[int64_t{r} * dim + d]);
      for (int i = 0; i < N; ++i) acc[r][i] = _mm256_fmadd_ps(qd, kd[i], acc[r][i]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i) _mm256_storeu_ps(score + r * kKvBlock + i * kLanes, acc[r][i]);
}

// How many chains R rows run at a time: 8 would just hide the latency of 4 cycles at two a cycle, 12 leave some slack.
template <int R>
constexpr int kChains = R == 4   ? 3
                        : R == 2 ? 4
                                 : 8;

// Scores of the first `vectors` vectors of positions for R rows.
template <class Kv, int R>
inline void score_rows(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* ahead, int vectors,
                       int dim, float* score) {
  constexpr int N = kChains<R>;
  const int64_t next = int64_t{dim} * kLanes;
  int i = 0;
  for (; i + N <= vectors; i += N)
    score_vectors<Kv, R, N>(q, keys + i * next, ahead + i * next, dim, score + i * kLanes);
  for (; i + 2 <= vectors; i += 2)
    score_vectors<Kv, R, 2>(q, keys + i * next, ahead + i * next, dim, score + i * kLanes);
  if (i < vectors) score_vectors<Kv, R, 1>(q, keys + i * next, ahead + i * next, dim, score + i * kLanes);
}

// out[r][0, 8 N) = out * correction + sum over p of e[r][p] * v[p][0, 8 N), p ascending below count. ahead: as many
// keys as values are read.
template <class Kv, int R, int N>
inline void weigh_vectors(const float* e, const float* correction, const typename Kv::Stored* v,
                          const typename Kv::Stored* ahead, int count, int dim, float* out) {
  __m256 acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i)
      acc[r][i] = _mm256_mul_ps(_mm256_loadu_ps(out + int64_t{r} * dim + i * kLanes), _mm256_set1_ps(correction[r]));
  for (int p = 0; p < count; ++p) {
    fetch_step<Kv, N>(ahead + int64_t{p} * N * kLanes);
    __m256 vp[N];
    for (int i = 0; i < N; ++i) {
      vp[i] = Kv::load(v + int64_t{p} * dim + i * kLanes);
      if (R > 1) pin(vp[i]);
    }
    for (int r = 0; r < R; ++r) {
      const __m256 ep = _mm256_set1_ps(e[r * kKvBlock + p]);
      for (int i = 0; i < N; ++i) acc[r][i] = _mm256_fmadd_ps(ep, vp[i], acc[r][i]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + int64_t{r} * dim + i * kLanes, acc[r][i]);
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
    correction[r] = soften(e + r * kKvBlock, count, state[r]);
    scale_positions<Kv>(values, count, dim, e + r * kKvBlock);
  }
  constexpr int N = kChains<R>;
  int d = 0;
  for (; d + N * kLanes <= dim; d += N * kLanes)
    weigh_vectors<Kv, R, N>(e, correction, values + d, next_keys + int64_t{d} * kKvBlock, count, dim, out + d);
  for (; d + 2 * kLanes <= dim; d += 2 * kLanes)
    weigh_vectors<Kv, R, 2>(e, correction, values + d, next_keys + int64_t{d} * kKvBlock, count, dim, out + d);
  if (d < dim)
    weigh_vectors<Kv, R, 1>(e, correction, values + d, next_keys + int64_t{d} * kKvBlock, count, dim, out + d);
}

template <class Kv>
void attend_block(const float* q, const void* k, const void* v, const int* count, int n_rows, int dim,
                  SoftmaxState* state, float* out, const void* next_k) {
  const auto* keys = static_cast<const typename Kv::Stored*>(k);
  const auto* next_keys = static_cast<const typename Kv::Stored*>(next_k != nullptr ? next_k : k);
  const auto* values = static_cast<const typename Kv::Stored*>(v);
  for (int row = 0; row < n_rows;) {
    int same = 1;
    while (same < 4 && row + same < n_rows && count[row + same] == count[row]) ++same;
    const int rows = same == 3 ? 2 : same;
    if (count[row] > 0) {
      const auto attend = rows == 4 ? attend_rows<Kv, 4> : rows == 2 ? attend_rows<Kv, 2> : attend_rows<Kv, 1>;
      const int64_t offset = int64_t{row} * dim;
      attend(q + offset, keys, values, next_keys, count[row], dim, state + row, out + offset);
    }
    row += rows;
  }
}

// 8 floats as int8, in the low half.
inline __m128i quantize8(const float* x, BlockScale scale) {
  if (scale.inverse == 0.0f) return _mm_setzero_si128();
  const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), _mm256_set1_ps(scale.inverse)));
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
  return _mm_packs_epi16(words, words);
}

inline void store8(int8_t* p, __m128i bytes) { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes); }

}  // namespace

void kv_f32::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t*, const void* next_k) {
  attend_block<F32>(q, k, v, count, n_rows, head_dim_padded, state, out, next_k);
}

void kv_f16::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t*, const void* next_k) {
  attend_block<F16>(q, k, v, count, n_rows, head_dim_padded, state, out, next_k);
}

void kv_q8::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                   SoftmaxState* state, float* out, uint8_t*, const void* next_k) {
  attend_block<Q8>(q, k, v, count, n_rows, head_dim_padded, state, out, next_k);
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

void kv_q8::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  const int64_t data_bytes = kv_data_bytes(KvFormat::q8, head_dim_padded);
  auto* keys = static_cast<int8_t*>(k);
  auto* values = static_cast<int8_t*>(v);
  const BlockScale of_key = block_scale(key, head_dim_padded), of_value = block_scale(value, head_dim_padded);
  std::memcpy(keys + data_bytes + slot * 4, &of_key.scale, 4);
  std::memcpy(values + data_bytes + slot * 4, &of_value.scale, 4);
  keys += int64_t{slot / kLanes} * head_dim_padded * kLanes + slot % kLanes;
  values += int64_t{slot} * head_dim_padded;
  for (int d = 0; d < head_dim_padded; d += kLanes) {
    int8_t q[kLanes];
    store8(q, quantize8(key + d, of_key));
    for (int i = 0; i < kLanes; ++i) keys[(d + i) * kLanes] = q[i];
    store8(values + d, quantize8(value + d, of_value));
  }
}

}  // namespace qwen3cpu::avx2
