// Causal attention of new tokens to the blocks of their own sequences.
#pragma once

#include "engine/attention_plan.h"

namespace qwen3cpu {

int64_t attention_scratch_bytes(const AttentionShape& shape);

// out[row][head][head_dim] for the tokens of a bundle and the query heads of `kv_head`. q: [row][heads][head_dim],
// rotated. ldq, ldout: floats from one row to the next.
void attend(const KvKernels& kernels, const KvPool& pool, const AttentionShape& shape, const AttentionBundle& bundle,
            int layer, int kv_head, const float* q, int64_t ldq, float* out, int64_t ldout, uint8_t* scratch);

}  // namespace qwen3cpu
