// Two row tiles side by side in a register, as the kernels of vnni.h take them. Internal linkage.
#pragma once

#include "kernels/avx512vnni/kernels.h"
#include "kernels/vnni.h"

namespace qwen3cpu::avx512vnni {
namespace {

struct Rows {
  static constexpr int kTiles = 2, kMaxTokens = 6, kMostSums = 12;
  static constexpr int kStepsLeast = 7, kStepsRun = 12, kStepsRegisters = 2;
  static constexpr int kPanelLeast = 24, kPanelRun = 8, kPanelRegisters = 2;
  static constexpr int kQ8PanelLeast = 32, kQ8PanelRun = 5;
  using Int = __m512i;
  using Float = __m512;

  static Int load(const uint8_t (*p)[4], int64_t apart) {
    const auto* low = reinterpret_cast<const uint8_t*>(p);
    return _mm512_inserti64x4(_mm512_castsi256_si512(vnni::load32(low)), vnni::load32(low + apart), 1);
  }
  static Int scales_q4s(const int8_t* p, int64_t apart) {
    const __m128i both = _mm_unpacklo_epi64(vnni::load8(p), vnni::load8(p + apart));
    return _mm512_and_si512(_mm512_cvtepi8_epi32(both), _mm512_set1_epi32(0xffff));
  }
  static Int scales_q4(const uint8_t* p, int64_t apart) {
    const Int low = _mm512_broadcast_i32x4(vnni::load16(p));
    const Int both = _mm512_mask_broadcast_i32x4(low, 0xff00, vnni::load16(p + apart));
    return _mm512_shuffle_epi8(both, _mm512_broadcast_i64x4(vnni::load32(vnni::kInPairs)));
  }
  static Int low_parts(Int x) { return _mm512_and_si512(x, _mm512_set1_epi16(15)); }
  static Int times_placed(Int s, Int scales, const int8_t (&by)[16]) {
    const Int table = _mm512_broadcast_i32x4(vnni::load16(by));
    return _mm512_maddubs_epi16(s, _mm512_shuffle_epi8(table, _mm512_srli_epi16(scales, 4)));
  }
  static Int twice_lower(Int x) {
    return _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(vnni::load16(vnni::kTwiceLower)));
  }
  static Int twice_upper(Int x) {
    return _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(vnni::load16(vnni::kTwiceUpper)));
  }
  static Int lower_halves(Int x) { return _mm512_and_si512(x, _mm512_set1_epi32(0xffff)); }
  static Int upper_halves(Int x) { return _mm512_srli_epi32(x, 16); }
  static Int times(Int x, Int s) { return _mm512_mullo_epi16(x, s); }
  static Int eightfold(Int x) { return _mm512_slli_epi32(x, 3); }
  static Float scales_q8(const uint16_t* p, int64_t apart) {
    const __m128i high = vnni::load16(reinterpret_cast<const uint8_t*>(p) + apart);
    return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(vnni::load16(p)), high, 1));
  }
  static Float load_floats(const float* p, int64_t apart) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p)), _mm256_loadu_ps(p + apart), 1);
  }
  static void store(float* y, int64_t apart, Float rows) {
    _mm256_storeu_ps(y, _mm512_castps512_ps256(rows));
    if (apart > 0) _mm256_storeu_ps(y + apart, _mm512_extractf32x8_ps(rows, 1));
  }
  static Int set1(int32_t x) { return _mm512_set1_epi32(x); }
  static Float set1(float x) { return _mm512_set1_ps(x); }
  static Int bits(Float x) { return _mm512_castps_si512(x); }
  static Float from_bits(Int x) { return _mm512_castsi512_ps(x); }
  static Float sub(Float a, float b) { return _mm512_sub_ps(a, _mm512_set1_ps(b)); }
  static void pin(Int& x) { asm("" : "+v"(x)); }
  static Float zero() { return _mm512_setzero_ps(); }
  static Int low_nibbles(Int two) { return _mm512_and_si512(two, _mm512_set1_epi8(15)); }
  static Int high_nibbles(Int two) { return low_nibbles(_mm512_srli_epi16(two, 4)); }
  static Int add_products(Int sum, Int w, Int x) { return _mm512_dpbusd_epi32(sum, w, x); }
  static Int add_products(Int sum, Int w, const int8_t* x) { return add_products(sum, w, set1(vnni::four_bytes(x))); }
  static Int add_scaled(Int dot, Int x, Int s) { return _mm512_dpwssd_epi32(dot, x, s); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float mul(Float a, float b) { return _mm512_mul_ps(a, _mm512_set1_ps(b)); }
  static Float fma(Int dot, Float scale, Float acc) { return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc); }
  static Float fma(Float a, Float b, Float acc) { return _mm512_fmadd_ps(a, b, acc); }
  static Float fma(Float a, float b, Float acc) { return _mm512_fmadd_ps(a, _mm512_set1_ps(b), acc); }
  static Float fma(Int dot, float scale, Float acc) { return fma(dot, _mm512_set1_ps(scale), acc); }
};

}  // namespace
}  // namespace qwen3cpu::avx512vnni
