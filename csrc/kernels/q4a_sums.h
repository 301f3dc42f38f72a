// Sums of the activations of q4a's groups. Internal linkage: every file has its own copy, compiled with its flags.
#pragma once

#include <cmath>

#include "kernels/token_runs.h"

namespace qwen3cpu {
namespace {

constexpr int kMostRun = 16;  // tokens that kernels take together at most

// float [tokens][groups of G] in scratch: sums of the inputs, with the scales of the activations applied.
template <int G>
inline const float* sums_of_groups(const Tokens& x, int tokens, int cols, uint8_t* scratch) {
  constexpr int parts = G / kGroup;
  static_assert(kMostRun * sizeof(float) <= 32 * kGroup, "matmul_scratch_bytes holds 32 bytes a column");
  const int groups = ceil_div(cols, G), in_all = ceil_div(cols, kGroup);
  auto* sums = reinterpret_cast<float*>(scratch);
  for (int t = 0; t < tokens; ++t)
    for (int g = 0; g < groups; ++g) {
      float sum = 0.0f;
      for (int i = g * parts; i < (g + 1) * parts && i < in_all; ++i)
        sum = std::fma(static_cast<float>(x.sum[t * x.sums + i]), x.scale[t * x.scales + i], sum);
      sums[t * groups + g] = sum;
    }
  return sums;
}

}  // namespace
}  // namespace qwen3cpu
