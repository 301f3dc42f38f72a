// Embedding, layers and head.
#include "engine/forward.h"

#include <algorithm>
#include <limits>

namespace qwen3cpu {
namespace {

constexpr size_t kKeptTopRows = 64;  // of 0.4 MB each for a vocabulary of 151,936

}  // namespace

Forward::Forward(const Resources& resources, const std::vector<BatchItem>& batch, const OutputRows& to,
                 const LayerInputs& inputs)
    : weights_(resources.weights),
      pass_(resources, batch, inputs, SelfAttention::scratch_bytes(resources)),
      attention_(pass_, resources),
      to_(to) {
  int first_row = 0;
  for (const BatchItem& item : batch) {
    std::vector<int>& rows = rows_of(item.output);
    for (const int offset : item.wanted) {
      rows.push_back(static_cast<int>(wanted_.size()));
      wanted_.push_back(first_row + offset);
    }
    first_row += static_cast<int>(item.tokens.size());
  }
  for (const int row : logits_rows_) logits_runs_.add_token(token_of(row).adapter);
  Workspace& ws = resources.workspace;
  const Matrix& head = weights_.lm_head;
  if (head.format == Format::q4x2 && !logits_rows_.empty())
    ws.rest_input.reserve(activation_of(head.format), static_cast<int>(logits_rows_.size()), head.cols);
  if (!top_rows_.empty()) {
    for (PreparedInput* input : {&ws.top_input, &ws.top_rest_input})
      input->reserve(activation_of(head.format), static_cast<int>(top_rows_.size()), head.cols);
    // Passes with many drafted tokens are rare, so their memory is not kept.
    ws.top_rows.resize(std::max(top_rows_.size(), std::min(ws.top_rows.size(), kKeptTopRows)));
    size_t row = 0;
    for (const BatchItem& item : batch)
      if (item.output == Output::top_logits)
        for (size_t i = 0; i < item.wanted.size(); ++i) ws.top_rows[row++].reset(pass_.config.tokens, item.top);
  }
  if (static_cast<int>(wanted_.size()) < pass_.n_tokens) rest_.emplace(pass_, wanted_, resources);
}

std::vector<int>& Forward::rows_of(Output output) {
  switch (output) {
    case Output::hidden:
      return hidden_rows_;
    case Output::top_logits:
      return top_rows_;
    case Output::logits:
      break;
  }
  return logits_rows_;
}

void Forward::run(Team& team) {
  embed(team);
  const int last = pass_.config.num_hidden_layers - 1;
  for (int n = 0; n < last; ++n) layer(team, n);
  last_layer(team, last);
  outputs(team);
}

// The last layer computes only keys and values of tokens that are not wanted. Nothing reads their other results.
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

// Moves the data of the wanted tokens to the front, where the rest of the pass expects it.
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
  const auto n_top = static_cast<int>(top_rows_.size());
  const int hidden = pass_.config.hidden_size;
  Workspace& ws = pass_.workspace;
  const IsaTable& isa = pass_.isa;
  const Matrix& lm_head = weights_.lm_head;
  const auto norm = [&](int row, float* out) {
    isa.ops.rms_norm(ws.x.get() + row * pass_.hidden_stride, token_of(row).vector(weights_.norm),
                     pass_.config.rms_norm_eps, hidden, out);
  };
  team.for_each(n_logits + n_top + n_hidden, [&](int i) {
    if (i >= n_logits + n_top) {
      const int n = i - n_logits - n_top;
      norm(hidden_rows_[static_cast<size_t>(n)], to_.hidden + int64_t{n} * hidden);
      return;
    }
    const bool top = i >= n_logits;
    const int n = top ? i - n_logits : i;
    float* normed = ws.normed.get() + int64_t{i} * hidden;
    norm((top ? top_rows_ : logits_rows_)[static_cast<size_t>(n)], normed);
    prepare_head_input(team, n, normed, top ? ws.top_input : ws.input, top ? ws.top_rest_input : ws.rest_input);
  });
  if (n_top > 0) top_outputs(team);
  if (n_logits == 0) return;
  pass_.reduce(team, {lm_head}, ws.normed.get(), hidden, logits_runs_);
  const Pieces pieces(lm_head, n_logits, team.size());
  team.for_each(pieces.count(), [&](int i) {
    const int64_t stride = padded_rows(lm_head.rows);
    pass_.multiply_alone(team, lm_head, pieces[i], to_.logits, stride, logits_runs_);
    if (lm_head.format == Format::q4x2) add_rest(team, pieces[i]);
    pass_.add_low_rank(team, lm_head, pieces[i], to_.logits, stride, logits_runs_);
  });
}

// A head in two parts takes its inputs in two parts too, each of 8 bits. With 8 bits for 256 inputs together, rounding
// the inputs would change the logits more than rounding the weights does.
void Forward::prepare_head_input(Team& team, int i, const float* normed, PreparedInput& input, PreparedInput& rest) {
  const Format format = weights_.lm_head.format;
  const Activation form = activation_of(format);
  const int cols = weights_.lm_head.cols;
  input.prepare(pass_.isa.ops, form, cols, i, normed);
  if (format != Format::q4x2) return;
  auto* left = reinterpret_cast<float*>(pass_.scratch(team));
  rounding_error(input.view(form, cols), scale_columns(form), i, normed, 0, cols, left);
  rest.prepare(pass_.isa.ops, form, cols, i, left);
}

// The matrix that row i of the logits comes from.
const Matrix& Forward::head_of(int i) const {
  const Adapter* adapter = token_of(logits_rows_[static_cast<size_t>(i)]).adapter;
  const MatrixChange* change = adapter == nullptr ? nullptr : adapter->change_of(weights_.lm_head);
  return change == nullptr || change->whole.data == nullptr ? weights_.lm_head : change->whole;
}

// logits += first part times the rounding error of the 8-bit inputs.
void Forward::add_rest(const Team& team, const Pieces::Piece& piece) {
  constexpr int kSums = 4096, kMostTokens = 64;
  float sums[kSums];
  const Activations rest = pass_.workspace.rest_input.view(Activation::i8g256, weights_.lm_head.cols);
  MatmulFn* const matmul = pass_.isa.formats[static_cast<int>(Format::q4)].matmul;
  const int64_t stride = padded_rows(weights_.lm_head.rows);
  const int end = piece.first_token + piece.tokens, last_tile = piece.first_tile + piece.tiles;
  for (int t = piece.first_token; t < end;) {
    const Matrix first = first_part_of(head_of(t));
    int tokens = 1;
    while (tokens < kMostTokens && t + tokens < end && head_of(t + tokens).data == first.data) ++tokens;
    if (head_of(t).format != Format::q4x2) {
      t += tokens;
      continue;
    }
    const int most_tiles = kSums / kTileRows / tokens;
    for (int tile = piece.first_tile; tile < last_tile; tile += most_tiles) {
      const int tiles = std::min(most_tiles, last_tile - tile), rows = tiles * kTileRows;
      matmul(first, tile, tiles, rest, t, tokens, sums, rows, pass_.scratch(team));
      for (int j = 0; j < tokens; ++j) {
        float* logits = to_.logits + (t + j) * stride + int64_t{tile} * kTileRows;
        for (int r = 0; r < rows; ++r) logits[r] += sums[j * rows + r];
      }
    }
    t += tokens;
  }
}

// Every thread makes the same calls of for_each. The number of rounds that a token needs is read inside the pieces.
void Forward::top_outputs(Team& team) {
  constexpr int kShares = 8;     // of the tiles of a round
  constexpr int kRun = 64;       // neighbouring tiles that are multiplied together
  constexpr int kFilled = 1024;  // tiles in a piece
  const Matrix first = first_part_of(weights_.lm_head), second = second_part_of(weights_.lm_head);
  const auto n = static_cast<int>(top_rows_.size());
  const int tiles = first.tiles();
  const int64_t stride = padded_rows(first.rows);
  Workspace& ws = pass_.workspace;
  const IsaTable& isa = pass_.isa;
  const auto logits_of = [&](int t, int tile) { return to_.top_logits + t * stride + int64_t{tile} * kTileRows; };
  const Pieces pieces(first, n, team.size());
  team.for_each(pieces.count(), [&](int i) {
    const Pieces::Piece piece = pieces[i];
    multiply(isa, first, ws.top_input, piece, to_.top_logits, stride, pass_.scratch(team));
    for (int t = piece.first_token; t < piece.first_token + piece.tokens; ++t)
      ws.top_rows[static_cast<size_t>(t)].note(piece.first_tile, piece.tiles, logits_of(t, piece.first_tile));
  });
  team.for_each(n, [&](int t) { ws.top_rows[static_cast<size_t>(t)].choose_first(); });
  const Activations input = ws.top_input.view(activation_of(first.format), first.cols);
  const Activations rest = ws.top_rest_input.view(activation_of(first.format), first.cols);
  MatmulFn* const matmul = isa.formats[static_cast<int>(second.format)].matmul;
  for (int round = 0; round <= TopRows::kRounds; ++round) {
    team.for_each(n * kShares, [&](int i) {
      const int t = i / kShares, share = i % kShares;
      TopRows& rows = ws.top_rows[static_cast<size_t>(t)];
      const auto end = static_cast<int>(int64_t{rows.waiting()} * (share + 1) / kShares);
      float products[kRun * kTileRows], more[kRun * kTileRows];
      for (int j = static_cast<int>(int64_t{rows.waiting()} * share / kShares); j < end;) {
        const int tile = rows.waiting_tile(j);
        int run = 1;
        while (run < kRun && j + run < end && rows.waiting_tile(j + run) == tile + run) ++run;
        matmul(second, tile, run, input, t, 1, products, 0, pass_.scratch(team));
        matmul(first, tile, run, rest, t, 1, more, 0, pass_.scratch(team));
        for (int k = 0; k < run; ++k)
          rows.add(j + k, products + k * kTileRows, more + k * kTileRows, logits_of(t, tile + k));
        j += run;
      }
    });
    if (round == TopRows::kRounds) break;
    team.for_each(n, [&](int t) { ws.top_rows[static_cast<size_t>(t)].settle(round == TopRows::kRounds - 1); });
  }
  const int parts = ceil_div(tiles, kFilled);
  team.for_each(n * parts, [&](int i) {
    const int t = i / parts, from = i % parts * kFilled, end = std::min(tiles, from + kFilled);
    const TopRows& rows = ws.top_rows[static_cast<size_t>(t)];
    for (int tile = from; tile < end; ++tile)
      if (!rows.is_chosen(tile)) std::fill_n(logits_of(t, tile), kTileRows, -std::numeric_limits<float>::infinity());
  });
}

}  // namespace qwen3cpu
