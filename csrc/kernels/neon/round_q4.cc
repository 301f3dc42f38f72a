// Rounding with feedback, 4 rows a register: see ../round_q4.h.
#include "kernels/round_q4.h"

#include <arm_neon.h>

#include "kernels/neon/kernels.h"

namespace qwen3cpu::neon {
namespace {

struct Lanes {
  static constexpr int kWidth = 4, kSums = 16;
  using Vector = float32x4_t;

  static Vector splat(float x) { return vdupq_n_f32(x); }
  static Vector load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Vector v) { vst1q_f32(p, v); }
  static void store_bytes(int8_t* p, Vector v) {
    for (int i = 0; i < kWidth; ++i) p[i] = static_cast<int8_t>(v[i]);
  }
  static Vector min(Vector a, Vector b) { return a < b ? a : b; }  // vminq_f32 would return a NaN operand
  static Vector max(Vector a, Vector b) { return a > b ? a : b; }
  static Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
  static Vector fnma(Vector a, Vector b, Vector c) { return vfmsq_f32(c, a, b); }
  static Vector fms(Vector a, Vector b, Vector c) { return vfmaq_f32(-c, a, b); }
};

}  // namespace

void ops::round_q4(const RoundFactor& factor, const float* row_scale, float* w, int8_t* q, int8_t* scale,
                   int8_t* zero) {
  rounding::RoundQ4<Lanes>::run(factor, row_scale, w, q, scale, zero);
}

}  // namespace qwen3cpu::neon
