// Attention of query rows to one block of keys and values, and writing into a block.
#include "kernels/scalar/exp.h"
#include "kernels/scalar/kernels.h"
#include "kernels/scalar/quantize.h"
#include "layout/half.h"

namespace qwen3cpu::scalar {
namespace {

struct F32 {
  using Stored = float;
  static constexpr bool kScaled = false;
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};

struct F16 {
  using Stored = uint16_t;
  static constexpr bool kScaled = false;
  static float load(uint16_t x) { return half_to_float(x); }
  static uint16_t store(float x) { return float_to_half(x); }
};

struct Q8 {
  using Stored = int8_t;
  static constexpr bool kScaled = true;
  static float load(int8_t x) { return static_cast<float>(x); }
};

// The scales of a plane's 64 positions, which follow its data.
float* scales(int8_t* plane, int dim) { return reinterpret_cast<float*>(plane + kv_data_bytes(KvFormat::q8, dim)); }
const float* scales(const int8_t* plane, int dim) {
  return reinterpret_cast<const float*>(plane + kv_data_bytes(KvFormat::q8, dim));
}

// The index of position p, dimension d in a block of keys.
int64_t key_index(int p, int d, int head_dim_padded) { return (int64_t{p / 8} * head_dim_padded + d) * 8 + p % 8; }

template <class Kv>
void attend_row(const float* q, const typename Kv::Stored* k, const typename Kv::Stored* v, int count, int dim,
                SoftmaxState& state, float* out) {
  float e[kKvBlock];
  float max = state.max;
  for (int p = 0; p < count; ++p) {
    float score = 0.0f;
    for (int d = 0; d < dim; ++d) score = std::fma(q[d], Kv::load(k[key_index(p, d, dim)]), score);
    if constexpr (Kv::kScaled) score *= scales(k, dim)[p];
    e[p] = score;
    max = score > max ? score : max;
  }
  max += 0.0f;  // -0 becomes +0, because the zero that a maximum returns depends on the order
  float lane[8] = {};
  for (int p = 0; p < count; ++p) {
    e[p] = exponential(e[p] - max);
    lane[p % 8] += e[p];
  }
  const float correction = exponential(state.max - max);
  state.sum = std::fma(state.sum, correction, sum_lanes(lane));
  state.max = max;
  if constexpr (Kv::kScaled)
    for (int p = 0; p < count; ++p) e[p] *= scales(v, dim)[p];
  for (int d = 0; d < dim; ++d) {
    float value = out[d] * correction;
    for (int p = 0; p < count; ++p) value = std::fma(e[p], Kv::load(v[int64_t{p} * dim + d]), value);
    out[d] = value;
  }
}

template <class Kv>
void attend_rows(const float* q, const void* k, const void* v, const int* count, int n_rows, int dim,
                 SoftmaxState* state, float* out) {
  using Stored = typename Kv::Stored;
  for (int row = 0; row < n_rows; ++row) {
    if (count[row] == 0) continue;
    attend_row<Kv>(q + int64_t{row} * dim, static_cast<const Stored*>(k), static_cast<const Stored*>(v), count[row],
                   dim, state[row], out + int64_t{row} * dim);
  }
}

template <class Kv>
void store_position(const float* key, const float* value, int slot, int dim, void* k, void* v) {
  using Stored = typename Kv::Stored;
  for (int d = 0; d < dim; ++d) {
    static_cast<Stored*>(k)[key_index(slot, d, dim)] = Kv::store(key[d]);
    static_cast<Stored*>(v)[int64_t{slot} * dim + d] = Kv::store(value[d]);
  }
}

}  // namespace

void kv_f32::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t*, const void*) {
  attend_rows<F32>(q, k, v, count, n_rows, head_dim_padded, state, out);
}

void kv_f32::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  store_position<F32>(key, value, slot, head_dim_padded, k, v);
}

void kv_f16::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t*, const void*) {
  attend_rows<F16>(q, k, v, count, n_rows, head_dim_padded, state, out);
}

void kv_f16::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  store_position<F16>(key, value, slot, head_dim_padded, k, v);
}

void kv_q8::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                   SoftmaxState* state, float* out, uint8_t*, const void*) {
  attend_rows<Q8>(q, k, v, count, n_rows, head_dim_padded, state, out);
}

void kv_q8::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  auto* keys = static_cast<int8_t*>(k);
  auto* values = static_cast<int8_t*>(v);
  const int dim = head_dim_padded;
  scales(keys, dim)[slot] = quantize_block(key, dim, keys + key_index(slot, 0, dim), 8);
  scales(values, dim)[slot] = quantize_block(value, dim, values + int64_t{slot} * dim);
}

}  // namespace qwen3cpu::scalar
