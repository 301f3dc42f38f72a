// Chains that keep an instruction's pipes busy. Internal linkage.
#pragma once

#include "kernels/neon/simd.h"

namespace qwen3cpu::neon {
namespace {

constexpr int kProbeChains = 16;  // a latency of 4 on four pipes

template <class T>
inline void escape(T& in_register) {
  asm volatile("" : "+w"(in_register));
}

// Runs `rounds` rounds of int8 products; step(acc, w, x) is one, with 16 * `per_step` multiply-adds.
template <class Step>
inline int64_t probe_products(int64_t rounds, int per_step, Step step) {
  int32x4_t acc[kProbeChains];
  for (auto& a : acc) a = vdupq_n_s32(0);
  uint8x16_t w = vdupq_n_u8(3);
  int8x16_t x = vdupq_n_s8(-2);
  for (int64_t i = 0; i < rounds; ++i)
    for (auto& a : acc) {
      escape(w);
      escape(x);
      a = step(a, w, x);
      escape(a);
    }
  return rounds * kProbeChains * per_step;
}

}  // namespace
}  // namespace qwen3cpu::neon
