// Embedding, layers and head.
#include "engine/forward.h"

#include "packing/pack.h"

namespace qwen3cpu {

Forward::Forward(const Resources& resources, const std::vector<BatchItem>& batch, float* logits,
                 const LayerInputs& inputs)
    : weights_(resources.weights),
      pass_(resources, batch, inputs, SelfAttention::scratch_bytes(resources)),
      attention_(pass_, resources, batch),
      logits_(logits) {
  int first_row = 0;
  for (const BatchItem& item : batch) {
    for (const int offset : item.wanted) wanted_.push_back(first_row + offset);
    first_row += static_cast<int>(item.tokens.size());
  }
}

void Forward::run(Team& team) {
  embed(team);
  for (int n = 0; n < pass_.config.num_hidden_layers; ++n) layer(team, n);
  head(team);
}

void Forward::run_layer(Team& team, int n, float* x) {
  const int hidden = pass_.config.hidden_size;
  enter(team, x);
  layer(team, n);
  pass_.copy(team, pass_.workspace.x.get(), pass_.hidden_stride, hidden, x, hidden);
}

void Forward::run_head(Team& team, const float* x) {
  enter(team, x);
  head(team);
}

// Begins in the middle of a pass: the residual stream is x [tokens][hidden].
void Forward::enter(Team& team, const float* x) {
  const int hidden = pass_.config.hidden_size;
  pass_.copy(team, x, hidden, hidden, pass_.workspace.x.get(), pass_.hidden_stride);
  team.for_each(pass_.n_tokens, [&](int t) { attention_.rope_tables(t); });
}

void Forward::embed(Team& team) {
  team.for_each(pass_.n_tokens, [&](int t) {
    row_to_float(weights_.embed_tokens, pass_.rows[static_cast<size_t>(t)].token,
                 pass_.workspace.x.get() + t * pass_.hidden_stride);
    attention_.rope_tables(t);
  });
}

// x += self_attn(norm(x)); x += mlp(norm(x))
void Forward::layer(Team& team, int n) {
  const Layer& l = weights_.layers[static_cast<size_t>(n)];
  const LayerInputs& inputs = pass_.inputs;
  const float* normed = pass_.workspace.normed.get();
  const int hidden = pass_.config.hidden_size;

  pass_.norm(team, l.input_layernorm, l.self_attn.input_forms());
  pass_.copy(team, normed, hidden, hidden, inputs.qkv, hidden);
  attention_.add(team, l.self_attn, n);

  pass_.norm(team, l.post_attention_layernorm, l.mlp->input_forms());
  pass_.copy(team, normed, hidden, hidden, inputs.gate_up, hidden);
  l.mlp->add(team, pass_);
}

// logits = lm_head norm(x), for the wanted rows only.
void Forward::head(Team& team) {
  const int n = static_cast<int>(wanted_.size()), hidden = pass_.config.hidden_size;
  if (n == 0) return;
  Workspace& ws = pass_.workspace;
  const IsaTable& isa = pass_.isa;
  const Matrix& lm_head = weights_.lm_head;
  team.for_each(n, [&](int i) {
    float* normed = ws.normed.get() + int64_t{i} * hidden;
    isa.ops.rms_norm(ws.x.get() + wanted_[static_cast<size_t>(i)] * pass_.hidden_stride, weights_.norm,
                     pass_.config.rms_norm_eps, hidden, normed);
    ws.input.prepare(isa.ops, activation_of(lm_head.format), hidden, i, normed);
  });
  const Pieces pieces(lm_head, n, team.size());
  team.for_each(pieces.count(),
                [&](int i) { pass_.multiply(team, lm_head, pieces[i], logits_, padded_rows(lm_head.rows)); });
}

}  // namespace qwen3cpu
