// Causal attention of new tokens to the blocks of their own sequence.
#pragma once

#include "engine/kv_cache.h"

namespace qwen3cpu {

// A run of new tokens of one sequence that one thread attends for, all query heads of one KV head at once.
struct AttentionPiece {
  const Sequence* sequence;
  int first_row;       // row of the first token in q and out
  int first_position;  // its position in the sequence
  int tokens;
};

struct AttentionShape {
  int heads, kv_heads, head_dim, head_dim_padded;
  int group() const { return heads / kv_heads; }
  // Tokens per piece: enough query rows to share each load of keys and values, few enough to stay in L2.
  int tokens_per_piece() const { return group() >= kRows ? 1 : kRows / group(); }
  static constexpr int kRows = 128;
};

int64_t attention_scratch_bytes(const AttentionShape& shape);

// out[row][head][head_dim] for the piece's tokens and the query heads of `kv_head`. q: [row][heads][head_dim], rotated.
// ldq, ldout: floats from one row to the next.
void attend(const KvKernels& kernels, const AttentionShape& shape, const AttentionPiece& piece, int layer, int kv_head,
            const float* q, int64_t ldq, float* out, int64_t ldout, uint8_t* scratch);

}  // namespace qwen3cpu
