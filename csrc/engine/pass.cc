// The steps that attention and MLP have in common.
#include "engine/pass.h"

#include <algorithm>

namespace qwen3cpu {
Pass::Pass(const Resources& resources, const std::vector<BatchItem>& batch, const LayerInputs& inputs,
           int64_t scratch_bytes)
    : config(resources.config),
      isa(resources.isa),
      workspace(resources.workspace),
      inputs(inputs),
      hidden_stride(spread_rows(config.hidden_size)),
      reductions_(resources.threads) {
  for (const BatchItem& item : batch) {
    int position = item.sequence->length();
    for (const int token : item.tokens) rows.push_back({token, position++, item.sequence.get(), item.adapter.get()});
  }
  for (const Row& row : rows) runs.add_token(row.adapter);
  n_tokens = static_cast<int>(rows.size());
  workspace.x.reserve(n_tokens * hidden_stride);
  workspace.normed.reserve(int64_t{n_tokens} * config.hidden_size);
  workspace.projected.reserve(n_tokens * hidden_stride);
  for (const Layer& l : resources.weights.layers) l.mlp->reserve(n_tokens, workspace);
  for (int form = 0; form < kActivations; ++form) {
    const int cols = resources.weights.widest_input[static_cast<size_t>(form)];
    if (cols == 0) continue;
    workspace.input.reserve(static_cast<Activation>(form), n_tokens, cols);
    scratch_bytes = std::max(scratch_bytes, matmul_scratch_bytes(cols));
  }
  if (!runs.empty()) {
    reduced_stride_ = spread_lines(runs.reduced_rows());
    workspace.reduced.reserve(n_tokens * reduced_stride_);
    scratch_bytes = std::max(scratch_bytes, AdapterRuns::scratch_bytes(config.hidden_size));
  }
  scratch_bytes_ = round_up(scratch_bytes, 4096);
  workspace.scratch.reserve(scratch_bytes_ * resources.threads);
}

Pass::Pass(const Pass& whole, const std::vector<int>& tokens, int threads)
    : config(whole.config),
      isa(whole.isa),
      workspace(whole.workspace),
      inputs(whole.inputs),
      n_tokens(static_cast<int>(tokens.size())),
      hidden_stride(whole.hidden_stride),
      scratch_bytes_(whole.scratch_bytes_),
      reduced_stride_(whole.reduced_stride_),
      reductions_(threads) {
  for (const int token : tokens) rows.push_back(whole.rows[static_cast<size_t>(token)]);
  for (const Row& row : rows) runs.add_token(row.adapter);
}

void Pass::norm(Team& team, const float* weight, const Readers& readers) {
  const int hidden = config.hidden_size;
  const ActivationForms forms(readers);
  team.for_each(n_tokens, [&](int t) {
    float* normed = workspace.normed.get() + int64_t{t} * hidden;
    isa.ops.rms_norm(workspace.x.get() + t * hidden_stride, rows[static_cast<size_t>(t)].vector(weight),
                     config.rms_norm_eps, hidden, normed);
    for (int j = 0; j < kActivations; ++j) {
      const auto form = static_cast<Activation>(j);
      if (forms.has(form)) workspace.input.prepare(isa.ops, form, hidden, t, normed);
    }
  });
  reduce(team, readers, workspace.normed.get(), hidden, runs);
}

void Pass::prepare(Team& team, const float* from, int64_t stride, const Matrix& reader) {
  const Activation form = activation_of(reader.format);
  team.for_each(n_tokens, [&](int t) { workspace.input.prepare(isa.ops, form, reader.cols, t, from + t * stride); });
  reduce(team, {reader}, from, stride, runs);
}

void Pass::reduce(const Team& team, const Readers& readers, const float* from, int64_t stride, const AdapterRuns& of) {
  if (!of.empty()) reductions_.begin(isa, team, {&of, readers, {from, stride}, reduced()});
}

void Pass::multiply(const Team& team, const Matrix& w, const Pieces::Piece& piece, float* y, int64_t ldy,
                    const AdapterRuns& of) {
  multiply_alone(team, w, piece, y, ldy, of);
  add_low_rank(team, w, piece, y, ldy, of);
}

void Pass::multiply_alone(const Team& team, const Matrix& w, const Pieces::Piece& piece, float* y, int64_t ldy,
                          const AdapterRuns& of) {
  if (of.empty())
    qwen3cpu::multiply(isa, w, workspace.input, piece, y, ldy, scratch(team));
  else
    of.multiply(isa, w, workspace.input, piece, y, ldy, scratch(team));
}

void Pass::add_low_rank(const Team& team, const Matrix& w, const Pieces::Piece& piece, float* y, int64_t ldy,
                        const AdapterRuns& of) {
  if (of.empty()) return;
  reductions_.finish(isa, team);
  of.add(isa, w, piece, reduced(), y, ldy, scratch(team));
}

void Pass::project_and_add(Team& team, const Matrix& w, const float* bias) {
  const Pieces pieces(w, n_tokens, team.size());
  team.for_each(pieces.count(), [&](int i) {
    const Pieces::Piece piece = pieces[i];
    multiply(team, w, piece, workspace.projected.get(), hidden_stride);
    const int row = piece.first_tile * kTileRows, n = std::min(piece.tiles * kTileRows, w.rows - row);
    for (int t = piece.first_token; t < piece.first_token + piece.tokens; ++t) {
      float* projected = workspace.projected.get() + t * hidden_stride + row;
      if (bias != nullptr) isa.ops.add(bias + row, nullptr, n, projected);
      isa.ops.add(projected, nullptr, n, workspace.x.get() + t * hidden_stride + row);
    }
  });
}

void Pass::copy(Team& team, const float* from, int64_t from_stride, int cols, float* to, int64_t to_stride) {
  if (to == nullptr) return;
  team.for_each(n_tokens, [&](int t) { std::copy_n(from + t * from_stride, cols, to + t * to_stride); });
}

}  // namespace qwen3cpu
