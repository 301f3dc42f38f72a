// The plan of a pass: which new tokens attend together, and to which blocks in which order. It is made once for a pass,
// because it is the same for every layer and KV head.
//
// Sequences that begin with the same blocks read each of them once: one call of the kernel takes the query rows of all
// of them (cascade attention). A row's own chain of additions does not depend on the other rows.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kv_cache.h"

namespace qwen3cpu {

struct AttentionShape {
  int heads, kv_heads, head_dim, head_dim_padded;
  int group() const { return heads / kv_heads; }
  // Tokens that attend together: enough query rows to share each load of keys and values, few enough to stay in L2.
  int most_tokens() const { return group() >= kRows ? 1 : kRows / group(); }
  int most_rows() const { return group() * most_tokens(); }
  static constexpr int kRows = 128;
};

// A run of new tokens of one sequence.
struct AttentionPiece {
  const Sequence* sequence;
  int first_row;       // row of the first token in q and out
  int first_position;  // its position in the sequence
  int tokens;
  int shared = 0;  // leading blocks that this piece and the piece before it both read

  // Blocks that its tokens read.
  int blocks() const { return (first_position + tokens - 1) / kKvBlock + 1; }
};

// One call of the kernel: query rows [first_row, first_row + rows) of a bundle, which read the same block.
struct AttentionStep {
  const KvPool::Block* block;
  int first_row, rows;
  int counts;  // place of its first count in the bundle's; kFull: every row attends to the whole block
  static constexpr int kFull = -1;
};

// Pieces whose attention one thread computes together, all query heads of one KV head at once. Its query rows are those
// of the first piece [tokens][group], then those of the second, and so on.
struct AttentionBundle {
  const AttentionPiece* pieces;
  int n_pieces;
  int tokens;    // of all pieces
  int64_t cost;  // blocks read, plus the blocks that each token attends to
  std::vector<AttentionStep> steps;
  std::vector<int> counts;
};

class AttentionPlan {
 public:
  explicit AttentionPlan(const AttentionShape& shape) : shape_(shape) {}
  AttentionPlan(const AttentionPlan&) = delete;  // bundles point into it
  AttentionPlan& operator=(const AttentionPlan&) = delete;
  // The next new token of the pass.
  void add(const Sequence* sequence, int position);
  // Makes bundles of all tokens for `threads` threads. Pieces that share blocks are in one bundle as long as all
  // threads have enough work. The longest bundles come first, so that no thread begins the longest one at the end of a
  // phase.
  void finish(int threads);

  const std::vector<AttentionBundle>& bundles() const { return bundles_; }

 private:
  void sort_by_blocks();
  std::vector<AttentionBundle> bundle(int most_tokens) const;
  int64_t estimated_time(const std::vector<AttentionBundle>& bundles, int threads) const;
  void add_steps(AttentionBundle& bundle) const;

  AttentionShape shape_;
  int tokens_ = 0;
  std::vector<AttentionPiece> pieces_;
  std::vector<AttentionBundle> bundles_;
};

}  // namespace qwen3cpu
