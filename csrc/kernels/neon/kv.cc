// Attention of query rows to one block of keys and values, and writing into a block.
//
// Scores have one position per lane, so that the chain over d needs no horizontal sums; values have one d per lane. Up
// to four query rows share every load of keys and values.
#include "kernels/neon/kv_vectors.h"
#include "kernels/neon/quantize.h"
#include "kernels/neon/softmax.h"

namespace qwen3cpu::neon {
namespace {

// Scores of N vectors of positions for R rows; q: [R][dim], score: [R][64].
template <class Kv, int R, int N>
inline void score_vectors(const float* q, const typename Kv::Stored* keys, int dim, float* score) {
  F8 acc[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) acc[r][i] = all8(0.0f);
  for (int d = 0; d < dim; ++d) {
    F8 kd[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) kd[i] = Kv::load(keys + (int64_t{i} * dim + d) * kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i) acc[r][i] = fma(acc[r][i], kd[i], q[int64_t{r} * dim + d]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) store8(score + r * kKvBlock + i * kLanes, acc[r][i]);
}

// How many vectors R rows run at a time: 8 pairs of chains hide a latency of 4 cycles on up to four pipes, and leave
// half of the registers to the conversions.
template <int R>
constexpr int kChains = R == 4   ? 2
                        : R == 2 ? 4
                                 : 8;

// Scores of the first `vectors` vectors of positions for R rows.
template <class Kv, int R>
inline void score_rows(const float* q, const typename Kv::Stored* keys, int vectors, int dim, float* score) {
  constexpr int N = kChains<R>;
  const int64_t next = int64_t{dim} * kLanes;
  int i = 0;
  for (; i + N <= vectors; i += N) score_vectors<Kv, R, N>(q, keys + i * next, dim, score + i * kLanes);
  for (; i + 2 <= vectors; i += 2) score_vectors<Kv, R, 2>(q, keys + i * next, dim, score + i * kLanes);
  if (i < vectors) score_vectors<Kv, R, 1>(q, keys + i * next, dim, score + i * kLanes);
}

// out[r][0, 8 N) = out * correction + sum over p of e[r][p] * v[p][0, 8 N), p ascending below count.
template <class Kv, int R, int N>
inline void weigh_vectors(const float* e, const float* correction, const typename Kv::Stored* v, int count, int dim,
                          float* out) {
  F8 acc[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) acc[r][i] = load8(out + int64_t{r} * dim + i * kLanes) * all8(correction[r]);
  for (int p = 0; p < count; ++p) {
    F8 vp[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) vp[i] = Kv::load(v + int64_t{p} * dim + i * kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i) acc[r][i] = fma(acc[r][i], vp[i], e[r * kKvBlock + p]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) store8(out + int64_t{r} * dim + i * kLanes, acc[r][i]);
}

// R rows that attend to the same `count` positions.
template <class Kv, int R>
void attend_rows(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* values, int count, int dim,
                 SoftmaxState* state, float* out) {
  float e[R * kKvBlock];
  score_rows<Kv, R>(q, keys, ceil_div(count, kLanes), dim, e);
  float correction[R];
  for (int r = 0; r < R; ++r) {
    scale_positions<Kv>(keys, count, dim, e + r * kKvBlock);
    correction[r] = soften(e + r * kKvBlock, count, state[r]);
    scale_positions<Kv>(values, count, dim, e + r * kKvBlock);
  }
  constexpr int N = kChains<R>;
  int d = 0;
  for (; d + N * kLanes <= dim; d += N * kLanes)
    weigh_vectors<Kv, R, N>(e, correction, values + d, count, dim, out + d);
  for (; d + 2 * kLanes <= dim; d += 2 * kLanes)
    weigh_vectors<Kv, R, 2>(e, correction, values + d, count, dim, out + d);
  if (d < dim) weigh_vectors<Kv, R, 1>(e, correction, values + d, count, dim, out + d);
}

template <class Kv>
void attend_block(const float* q, const void* k, const void* v, const int* count, int n_rows, int dim,
                  SoftmaxState* state, float* out) {
  const auto* keys = static_cast<const typename Kv::Stored*>(k);
  const auto* values = static_cast<const typename Kv::Stored*>(v);
  for (int row = 0; row < n_rows;) {
    int same = 1;
    while (same < 4 && row + same < n_rows && count[row + same] == count[row]) ++same;
    const int rows = same == 3 ? 2 : same;
    if (count[row] > 0) {
      const auto attend = rows == 4 ? attend_rows<Kv, 4> : rows == 2 ? attend_rows<Kv, 2> : attend_rows<Kv, 1>;
      const int64_t offset = int64_t{row} * dim;
      attend(q + offset, keys, values, count[row], dim, state + row, out + offset);
    }
    row += rows;
  }
}

// The first value of position `slot` in a block of keys; the next dimension's is 8 further on.
template <class Stored>
inline Stored* key_of(Stored* keys, int slot, int dim) {
  return keys + int64_t{slot / kLanes} * dim * kLanes + slot % kLanes;
}

inline uint16x8_t halves(F8 x) { return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.low), x.high)); }

}  // namespace

void kv_f32::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t*, const void*) {
  attend_block<F32>(q, k, v, count, n_rows, head_dim_padded, state, out);
}

void kv_f16::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t*, const void*) {
  attend_block<F16>(q, k, v, count, n_rows, head_dim_padded, state, out);
}

void kv_q8::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                   SoftmaxState* state, float* out, uint8_t*, const void*) {
  attend_block<Q8>(q, k, v, count, n_rows, head_dim_padded, state, out);
}

void kv_f32::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  float* keys = key_of(static_cast<float*>(k), slot, head_dim_padded);
  for (int d = 0; d < head_dim_padded; ++d) keys[d * kLanes] = key[d];
  std::memcpy(static_cast<float*>(v) + int64_t{slot} * head_dim_padded, value,
              sizeof(float) * static_cast<size_t>(head_dim_padded));
}

void kv_f16::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  uint16_t* keys = key_of(static_cast<uint16_t*>(k), slot, head_dim_padded);
  uint16_t* values = static_cast<uint16_t*>(v) + int64_t{slot} * head_dim_padded;
  for (int d = 0; d < head_dim_padded; d += kLanes) {
    uint16_t of_key[kLanes];
    vst1q_u16(of_key, halves(load8(key + d)));
    for (int i = 0; i < kLanes; ++i) keys[(d + i) * kLanes] = of_key[i];
    vst1q_u16(values + d, halves(load8(value + d)));
  }
}

void kv_q8::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  const int64_t data_bytes = kv_data_bytes(KvFormat::q8, head_dim_padded);
  const BlockScale of_key = block_scale(key, head_dim_padded), of_value = block_scale(value, head_dim_padded);
  std::memcpy(static_cast<int8_t*>(k) + data_bytes + slot * 4, &of_key.scale, 4);
  std::memcpy(static_cast<int8_t*>(v) + data_bytes + slot * 4, &of_value.scale, 4);
  int8_t* keys = key_of(static_cast<int8_t*>(k), slot, head_dim_padded);
  int8_t* values = static_cast<int8_t*>(v) + int64_t{slot} * head_dim_padded;
  for (int d = 0; d < head_dim_padded; d += kLanes) {
    int8_t q[kLanes];
    vst1_s8(q, quantize8(load8(key + d), of_key));
    for (int i = 0; i < kLanes; ++i) keys[(d + i) * kLanes] = q[i];
    vst1_s8(values + d, quantize8(load8(value + d), of_value));
  }
}

}  // namespace qwen3cpu::neon
