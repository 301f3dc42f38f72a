// Embedding, layers and head.
#include "engine/forward.h"

#include "packing/pack.h"

namespace qwen3cpu {

Forward::Forward(const Resources& resources, const std::vector<BatchItem>& batch, const OutputRows& to,
                 const LayerInputs& inputs)
    : weights_(resources.weights),
      pass_(resources, batch, inputs, SelfAttention::scratch_bytes(resources)),
      attention_(pass_, resources, batch),
      to_(to) {
  int first_row = 0;
  for (const BatchItem& item : batch) {
    std::vector<int>& rows = item.output == Output::logits ? logits_rows_ : hidden_rows_;
    for (const int offset : item.wanted) rows.push_back(first_row + offset);
    first_row += static_cast<int>(item.tokens.size());
  }
}

void Forward::run(Team& team) {
  embed(team);
  for (int n = 0; n < pass_.config.num_hidden_layers; ++n) layer(team, n);
  outputs(team);
}

void Forward::run_layer(Team& team, int n, float* x) {
  const int hidden = pass_.config.hidden_size;
  enter(team, x);
  layer(team, n);
  pass_.copy(team, pass_.workspace.x.get(), pass_.hidden_stride, hidden, x, hidden);
}

void Forward::run_head(Team& team, const float* x) {
  enter(team, x);
  outputs(team);
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

// hidden = norm(x), logits = lm_head norm(x), for the wanted tokens only.
void Forward::outputs(Team& team) {
  const auto n_logits = static_cast<int>(logits_rows_.size()), n_hidden = static_cast<int>(hidden_rows_.size());
  const int hidden = pass_.config.hidden_size;
  Workspace& ws = pass_.workspace;
  const IsaTable& isa = pass_.isa;
  const Matrix& lm_head = weights_.lm_head;
  const auto norm = [&](int row, float* out) {
    isa.ops.rms_norm(ws.x.get() + row * pass_.hidden_stride, weights_.norm, pass_.config.rms_norm_eps, hidden, out);
  };
  team.for_each(n_logits + n_hidden, [&](int i) {
    if (i >= n_logits) {
      const int n = i - n_logits;
      norm(hidden_rows_[static_cast<size_t>(n)], to_.hidden + int64_t{n} * hidden);
      return;
    }
    float* normed = ws.normed.get() + int64_t{i} * hidden;
    norm(logits_rows_[static_cast<size_t>(i)], normed);
    ws.input.prepare(isa.ops, activation_of(lm_head.format), hidden, i, normed);
  });
  if (n_logits == 0) return;
  const Pieces pieces(lm_head, n_logits, team.size());
  team.for_each(pieces.count(),
                [&](int i) { pass_.multiply(team, lm_head, pieces[i], to_.logits, padded_rows(lm_head.rows)); });
}

}  // namespace qwen3cpu
