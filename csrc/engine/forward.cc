// Embedding, layers and head.
#include "engine/forward.h"

#include <algorithm>

namespace qwen3cpu {

Forward::Forward(const Resources& resources, const std::vector<BatchItem>& batch, const OutputRows& to,
                 const LayerInputs& inputs)
    : weights_(resources.weights),
      pass_(resources, batch, inputs, SelfAttention::scratch_bytes(resources)),
      attention_(pass_, resources),
      to_(to) {
  int first_row = 0;
  for (const BatchItem& item : batch) {
    std::vector<int>& rows = item.output == Output::logits ? logits_rows_ : hidden_rows_;
    for (const int offset : item.wanted) {
      rows.push_back(static_cast<int>(wanted_.size()));
      wanted_.push_back(first_row + offset);
    }
    first_row += static_cast<int>(item.tokens.size());
  }
  for (const int row : logits_rows_) logits_runs_.add_token(token_of(row).adapter);
  if (static_cast<int>(wanted_.size()) < pass_.n_tokens) rest_.emplace(pass_, wanted_, resources);
}

void Forward::run(Team& team) {
  embed(team);
  const int last = pass_.config.num_hidden_layers - 1;
  for (int n = 0; n < last; ++n) layer(team, n);
  last_layer(team, last);
  outputs(team);
}

// Nothing is read of what the last layer makes of tokens that are not wanted, but their keys and values.
void Forward::last_layer(Team& team, int n) {
  if (!rest_) {
    layer(team, n);
    return;
  }
  const Layer& l = weights_.layers[static_cast<size_t>(n)];
  pass_.norm(team, l.input_layernorm, l.self_attn.readers());
  attention_.store(team, l.self_attn, n);
  if (wanted_.empty()) return;
  team.for_each(1, [&](int) { gather_wanted(); });
  rest_->pass.norm(team, l.input_layernorm, l.self_attn.readers());
  rest_->attention.add_stored(team, l.self_attn, n);
  add_mlp(team, rest_->pass, l);
}

// Moves what belongs to the wanted tokens to the front, where the rest of the pass expects it.
void Forward::gather_wanted() {
  Workspace& ws = pass_.workspace;
  const auto gather = [&](float* rows, int64_t stride, int cols) {
    for (size_t i = 0; i < wanted_.size(); ++i)
      if (static_cast<size_t>(wanted_[i]) != i) std::copy_n(rows + wanted_[i] * stride, cols, rows + i * stride);
  };
  const int half = pass_.config.head_dim / 2;
  gather(ws.x.get(), pass_.hidden_stride, pass_.config.hidden_size);
  gather(ws.cos.get(), half, half);
  gather(ws.sin.get(), half, half);
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
    const Pass::Row& row = pass_.rows[static_cast<size_t>(t)];
    embed_token(pass_.isa, weights_.embed_tokens, row.adapter, row.token,
                pass_.workspace.x.get() + t * pass_.hidden_stride, pass_.scratch(team));
    attention_.rope_tables(t);
  });
}

// x += self_attn(norm(x)); x += mlp(norm(x))
void Forward::layer(Team& team, int n) {
  const Layer& l = weights_.layers[static_cast<size_t>(n)];
  const int hidden = pass_.config.hidden_size;
  pass_.norm(team, l.input_layernorm, l.self_attn.readers());
  pass_.copy(team, pass_.workspace.normed.get(), hidden, hidden, pass_.inputs.qkv, hidden);
  attention_.add(team, l.self_attn, n);
  add_mlp(team, pass_, l);
}

void Forward::add_mlp(Team& team, Pass& pass, const Layer& l) {
  const int hidden = pass.config.hidden_size;
  pass.norm(team, l.post_attention_layernorm, l.mlp->readers());
  pass.copy(team, pass.workspace.normed.get(), hidden, hidden, pass.inputs.gate_up, hidden);
  l.mlp->add(team, pass);
}

// hidden = norm(x), logits = lm_head norm(x), for the wanted tokens only.
void Forward::outputs(Team& team) {
  const auto n_logits = static_cast<int>(logits_rows_.size()), n_hidden = static_cast<int>(hidden_rows_.size());
  const int hidden = pass_.config.hidden_size;
  Workspace& ws = pass_.workspace;
  const IsaTable& isa = pass_.isa;
  const Matrix& lm_head = weights_.lm_head;
  const auto norm = [&](int row, float* out) {
    isa.ops.rms_norm(ws.x.get() + row * pass_.hidden_stride, token_of(row).vector(weights_.norm),
                     pass_.config.rms_norm_eps, hidden, out);
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
  pass_.reduce(team, {lm_head}, ws.normed.get(), hidden, logits_runs_);
  const Pieces pieces(lm_head, n_logits, team.size());
  team.for_each(pieces.count(), [&](int i) {
    pass_.multiply(team, lm_head, pieces[i], to_.logits, padded_rows(lm_head.rows), logits_runs_);
  });
}

}  // namespace qwen3cpu
