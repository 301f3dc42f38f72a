// The forward pass of Qwen3 over a ragged batch: embedding, layers, head.
#pragma once

#include <vector>

#include "engine/pass.h"
#include "engine/self_attention.h"

namespace qwen3cpu {

// One pass. Every public function is run by all threads of the team together.
class Forward {
 public:
  // The sequences have room for the batch's tokens.
  // wanted.
  Forward(const Resources& resources, const std::vector<BatchItem>& batch, const OutputRows& to,
          const LayerInputs& inputs = {});
  // The whole pass.
  void run(Team& team);
  // One layer. x: [tokens][hidden], the residual stream, which it changes.
  void run_layer(Team& team, int n, float* x);
  // The final norm and the head alone. x: as above.
  void run_head(Team& team, const float* x);

 private:
  void embed(Team& team);
  void enter(Team& team, const float* x);
  void layer(Team& team, int n);
  void outputs(Team& team);

  const Weights& weights_;
  Pass pass_;
  SelfAttention attention_;
  OutputRows to_;
  std::vector<int> logits_rows_;  // tokens whose logits are asked for
  std::vector<int> hidden_rows_;  // tokens whose hidden state is asked for
};

}  // namespace qwen3cpu
