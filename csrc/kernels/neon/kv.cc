// Keys and values: attention to a block, and writing into one. See ../kv_block.h.
#include "kernels/neon/kv_vectors.h"
#include "kernels/neon/quantize.h"

namespace qwen3cpu::neon {
namespace {

inline void store_halves(uint16_t* p, F8 x) {
  vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.low), x.high)));
}

}  // namespace

void kv_f32::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t*, const void* next_k) {
  kv::attend<F32>(q, k, v, count, n_rows, head_dim_padded, state, out, next_k);
}

void kv_f16::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t*, const void* next_k) {
  kv::attend<F16>(q, k, v, count, n_rows, head_dim_padded, state, out, next_k);
}

void kv_q8::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                   SoftmaxState* state, float* out, uint8_t*, const void* next_k) {
  kv::attend<Q8>(q, k, v, count, n_rows, head_dim_padded, state, out, next_k);
}

void kv_f32::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  kv::store<F32>(key, value, slot, head_dim_padded, k, v,
                 [](float* p, const float* x, bool) { Simd::store(p, Simd::load(x)); });
}

void kv_f16::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  kv::store<F16>(key, value, slot, head_dim_padded, k, v,
                 [](uint16_t* p, const float* x, bool) { store_halves(p, Simd::load(x)); });
}

void kv_q8::store(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v) {
  const int64_t data_bytes = kv_data_bytes(KvFormat::q8, head_dim_padded);
  const BlockScale of_key = block_scale(greatest_magnitude(key, head_dim_padded));
  const BlockScale of_value = block_scale(greatest_magnitude(value, head_dim_padded));
  kv::store_scale(k, data_bytes, slot, of_key.scale);
  kv::store_scale(v, data_bytes, slot, of_value.scale);
  kv::store<Q8>(key, value, slot, head_dim_padded, k, v, [&](int8_t* p, const float* x, bool is_value) {
    vst1_s8(p, quantize8(load8(x), is_value ? of_value : of_key));
  });
}

}  // namespace qwen3cpu::neon
