// The attention of a layer, from the normed residual stream back into it.
#pragma once

#include "engine/attention.h"
#include "engine/pass.h"

namespace qwen3cpu {

class SelfAttention {
 public:
  SelfAttention(Pass& pass, const Resources& resources);
  // Scratch of one thread.
  static int64_t scratch_bytes(const Resources& resources);

  // Writes cos and sin of a token's position, which `add` reads. Called by one thread.
  void rope_tables(int t);
  // `x += o_proj attend(rope(norm(q_proj h)), rope(norm(k_proj h)), v_proj h)`. h is the input that the pass has normed
  // and prepared for w.readers(). All threads of the team run this and the next two functions.
  void add(Team& team, const AttentionWeights& w, int layer);
  // The same in two steps: `store` writes keys and values into the cache, and the second step adds
  // `o_proj attend(...)` over the cached keys and values to x. The second step may have fewer tokens. h is prepared
  // before each step.
  void store(Team& team, const AttentionWeights& w, int layer);
  void add_stored(Team& team, const AttentionWeights& w, int layer);

 private:
  enum Parts : uint8_t { kQueries = 1, kKeysAndValues = 2, kAll = 3 };
  void project(Team& team, const AttentionWeights& w, Parts parts);
  void rotate_and_store(Team& team, const AttentionWeights& w, int layer, Parts parts);
  void attend_all(Team& team, int layer);
  void add_output(Team& team, const AttentionWeights& w);

  Pass& pass_;
  const KvPool& pool_;
  const KvKernels& kernels_;
  AttentionShape shape_;
  int64_t q_stride_, kv_stride_;
  AttentionPlan plan_;
};

}  // namespace qwen3cpu
