// A row tile in a register, as the kernels of vnni.h take it. Internal linkage.
#pragma once

#include "kernels/avxvnni/kernels.h"
#include "kernels/vnni.h"

namespace qwen3cpu::avxvnni {
namespace {

struct Rows {
  static constexpr int kTiles = 1, kMaxTokens = 8, kMostSums = 4;
  static constexpr int kStepsLeast = 7, kStepsRun = 8, kStepsRegisters = 1;
  static constexpr int kPanelLeast = 9, kPanelRun = 6, kPanelRegisters = 2;
  static constexpr int kQ8PanelLeast = 24, kQ8PanelRun = 6;
  using Int = __m256i;
  using Float = __m256;

  static Int load(const uint8_t (*p)[4], int64_t) { return vnni::load32(p); }
  static Int scales_q4s(const int8_t* p, int64_t) {
    return _mm256_and_si256(_mm256_cvtepi8_epi32(vnni::load8(p)), _mm256_set1_epi32(0xffff));
  }
  static Int scales_q4(const uint8_t* p, int64_t) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(vnni::load16(p)), vnni::load32(vnni::kInPairs));
  }
  static Int low_parts(Int x) { return _mm256_and_si256(x, _mm256_set1_epi16(15)); }
  static Int times_placed(Int s, Int scales, const int8_t (&by)[16]) {
    const Int table = _mm256_broadcastsi128_si256(vnni::load16(by));
    return _mm256_maddubs_epi16(s, _mm256_shuffle_epi8(table, _mm256_srli_epi16(scales, 4)));
  }
  static Int twice_lower(Int x) {
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(vnni::load16(vnni::kTwiceLower)));
  }
  static Int twice_upper(Int x) {
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(vnni::load16(vnni::kTwiceUpper)));
  }
  static Int lower_halves(Int x) { return _mm256_and_si256(x, _mm256_set1_epi32(0xffff)); }
  static Int upper_halves(Int x) { return _mm256_srli_epi32(x, 16); }
  static Int times(Int x, Int s) { return _mm256_mullo_epi16(x, s); }
  static Int eightfold(Int x) { return _mm256_slli_epi32(x, 3); }
  static Float scales_q8(const uint16_t* p, int64_t) { return _mm256_cvtph_ps(vnni::load16(p)); }
  static Float load_floats(const float* p, int64_t) { return _mm256_loadu_ps(p); }
  static void store(float* y, int64_t, Float rows) { _mm256_storeu_ps(y, rows); }
  static Int set1(int32_t x) { return _mm256_set1_epi32(x); }
  static Float set1(float x) { return _mm256_set1_ps(x); }
  static Int bits(Float x) { return _mm256_castps_si256(x); }
  static Float from_bits(Int x) { return _mm256_castsi256_ps(x); }
  static Float sub(Float a, float b) { return _mm256_sub_ps(a, _mm256_set1_ps(b)); }
  static void pin(Int& x) { asm("" : "+v"(x)); }
  static Float zero() { return _mm256_setzero_ps(); }
  static Int low_nibbles(Int two) { return _mm256_and_si256(two, _mm256_set1_epi8(15)); }
  static Int high_nibbles(Int two) { return low_nibbles(_mm256_srli_epi16(two, 4)); }
  static Int add_products(Int sum, Int w, Int x) { return _mm256_dpbusd_avx_epi32(sum, w, x); }
  static Int add_products(Int sum, Int w, const int8_t* x) { return add_products(sum, w, set1(vnni::four_bytes(x))); }
  static Int add_scaled(Int dot, Int x, Int s) { return _mm256_dpwssd_avx_epi32(dot, x, s); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float mul(Float a, float b) { return _mm256_mul_ps(a, _mm256_set1_ps(b)); }
  static Float fma(Int dot, Float scale, Float acc) { return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, acc); }
  static Float fma(Float a, Float b, Float acc) { return _mm256_fmadd_ps(a, b, acc); }
  static Float fma(Float a, float b, Float acc) { return _mm256_fmadd_ps(a, _mm256_set1_ps(b), acc); }
  static Float fma(Int dot, float scale, Float acc) { return fma(dot, _mm256_set1_ps(scale), acc); }
};

}  // namespace
}  // namespace qwen3cpu::avxvnni
