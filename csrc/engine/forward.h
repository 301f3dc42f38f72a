// The forward pass of Qwen3 over a ragged batch: embedding, layers, head.
#pragma once

#include <optional>
#include <vector>

#include "engine/pass.h"
#include "engine/self_attention.h"

namespace qwen3cpu {

// One pass. All threads of the team call every public function together.
class Forward {
 public:
  // The sequences must have room for the batch's tokens.
  Forward(const Resources& resources, const std::vector<BatchItem>& batch, const OutputRows& to,
          const LayerInputs& inputs = {});
  // The whole pass.
  void run(Team& team);
  // One layer. x: [tokens][hidden], the residual stream, changed in place.
  void run_layer(Team& team, int n, float* x);
  // The final norm and the head alone. x: as above.
  void run_head(Team& team, const float* x);

 private:
  // The pass from the last layer's queries on, over the wanted tokens.
  struct Rest {
    Rest(const Pass& whole, const std::vector<int>& tokens, const Resources& resources)
        : pass(whole, tokens, resources.threads), attention(pass, resources) {}
    Pass pass;
    SelfAttention attention;
  };

  void embed(Team& team);
  void enter(Team& team, const float* x);
  void layer(Team& team, int n);
  void last_layer(Team& team, int n);
  void gather_wanted();
  void add_mlp(Team& team, Pass& pass, const Layer& l);
  std::vector<int>& rows_of(Output output);
  void outputs(Team& team);
  void top_outputs(Team& team);
  void prepare_head_input(Team& team, int i, const float* normed, PreparedInput& input, PreparedInput& rest);
  void add_rest(const Team& team, const Pieces::Piece& piece);
  const Matrix& head_of(int i) const;
  // The token whose output has place `row` in wanted_.
  const Pass::Row& token_of(int row) const {
    return pass_.rows[static_cast<size_t>(wanted_[static_cast<size_t>(row)])];
  }

  const Weights& weights_;
  Pass pass_;
  SelfAttention attention_;
  OutputRows to_;
  std::vector<int> wanted_;       // tokens whose logits or hidden state are asked for
  std::optional<Rest> rest_;      // unless all tokens are wanted
  std::vector<int> logits_rows_;  // places in wanted_
  std::vector<int> hidden_rows_;
  std::vector<int> top_rows_;
  AdapterRuns logits_runs_;  // of the rows in logits_rows_
};

}  // namespace qwen3cpu
