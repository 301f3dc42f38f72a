// Which new tokens of a pass attend together, and to which blocks in which order. Made once for a pass: it is the same
// for every layer and KV head.
//
// Sequences that begin with the same blocks read each of them once: their query rows meet it in one call of the kernel
// (cascade attention). A row's own chain of additions is the same in any company.
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
  int shared = 0;  // leading blocks that it reads and that the piece before it has too

  // Blocks that its tokens read.
  int blocks() const { return (first_position + tokens - 1) / kKvBlock + 1; }
};

// One call of the kernel: query rows [first_row, first_row + rows) of a bundle, which meet the same block.
struct AttentionStep {
  const KvPool::Block* block;
  int first_row, rows;
  int counts;  // where its counts begin in the bundle's; kFull: every row attends to the whole block
  static constexpr int kFull = -1;
};

// Pieces that one thread attends for together, all query heads of one KV head at once. Its query rows are those of the
// first piece [tokens][group], then those of the second, and so on.
struct AttentionBundle {
  const AttentionPiece* pieces;
  int n_pieces;
  int tokens;    // of all pieces
  int64_t cost;  // blocks read and blocks that a token meets
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
  // Bundles of all tokens for `threads` threads. Pieces that share blocks are in one bundle as long as all threads have
  // enough to do. The longest come first, so that a phase does not end with one thread on the one that takes longest.
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
