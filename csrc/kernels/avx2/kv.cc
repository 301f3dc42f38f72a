// Keys and values: attention to a block, and writing into one. See ../kv_block.h.
#include "kernels/avx2/kv_vectors.h"
#include "kernels/avx2/quantize.h"

namespace qwen3cpu::avx2 {
namespace {

inline void store_halves(uint16_t* p, __m256 x) {
  constexpr int nearest_even = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, nearest_even));
}

inline void store_quantized(int8_t* p, __m256 x, BlockScale scale) {
  __m128i bytes = _mm_setzero_si128();
  if (scale.inverse != 0.0f) {
    const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(scale.inverse)));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    bytes = _mm_packs_epi16(words, words);
  }
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes);
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
    store_quantized(p, Simd::load(x), is_value ? of_value : of_key);
  });
}

}  // namespace qwen3cpu::avx2
