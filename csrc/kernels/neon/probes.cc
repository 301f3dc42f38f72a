// Peaks of the instructions that the kernels are made of, and of plain reading.
#include "kernels/neon/probes.h"

namespace qwen3cpu::neon {

int64_t probes::fp32(int64_t rounds) {
  float32x4_t acc[kProbeChains];
  for (auto& a : acc) a = vdupq_n_f32(0.0f);
  float32x4_t w = vdupq_n_f32(1.0f), x = vdupq_n_f32(0.5f);
  escape(w);
  escape(x);
  for (int64_t i = 0; i < rounds; ++i)
    for (auto& a : acc) {
      a = vfmaq_f32(a, w, x);
      escape(a);
    }
  return rounds * kProbeChains * 4;
}

int64_t probes::int8(int64_t rounds) {
  return probe_products(rounds, 16, [](int32x4_t acc, uint8x16_t w, int8x16_t x) {
    const int8x16_t s = vreinterpretq_s8_u8(w);
    return vpadalq_s16(vpadalq_s16(acc, vmull_s8(vget_low_s8(s), vget_low_s8(x))), vmull_high_s8(s, x));
  });
}

int64_t probes::read(const uint8_t* data, int64_t bytes) {
  constexpr int vectors = 8;
  uint8x16_t all[vectors];
  for (auto& a : all) a = vdupq_n_u8(0);
  const int64_t step = 16 * vectors;
  for (int64_t i = 0; i + step <= bytes; i += step)
    for (int v = 0; v < vectors; ++v) all[v] = vorrq_u8(all[v], vld1q_u8(data + i + 16 * v));
  for (auto& a : all) escape(a);
  return bytes / step * step;
}

}  // namespace qwen3cpu::neon
