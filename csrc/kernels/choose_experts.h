// Chooses the experts with the largest router logits: the part of routing that is the same in every instruction set.
// Internal linkage.
#pragma once

#include "kernels/table.h"

namespace qwen3cpu {
namespace {

// Whether logit a comes before logit b, which is at a lower index.
inline bool is_larger(float a, float b) { return a > b || (b != b && a == a); }

// The k largest of n logits, in ascending order of index; returns the largest.
inline float choose_experts(const float* logits, int n, int k, int* chosen) {
  // During the search, `chosen` is in descending order of logits.
  for (int i = 0; i < n; ++i) {
    int at = i < k ? i : k;
    if (at == k && !is_larger(logits[i], logits[chosen[k - 1]])) continue;
    if (at == k) --at;
    for (; at > 0 && is_larger(logits[i], logits[chosen[at - 1]]); --at) chosen[at] = chosen[at - 1];
    chosen[at] = i;
  }
  const float largest = logits[chosen[0]];
  for (int i = 1; i < k; ++i) {
    const int expert = chosen[i];
    int at = i;
    for (; at > 0 && chosen[at - 1] > expert; --at) chosen[at] = chosen[at - 1];
    chosen[at] = expert;
  }
  return largest;
}

// weight[j] = p[j], or with `normalised` p[j] over the sum of p.
inline void weigh_experts(bool normalised, int k, float* weight) {
  if (!normalised) return;
  float sum = 0.0f;
  for (int j = 0; j < k; ++j) sum += weight[j];
  for (int j = 0; j < k; ++j) weight[j] /= sum;
}

}  // namespace
}  // namespace qwen3cpu
