// Gate and up projection in one step, then the down projection.
#include "engine/mlp_dense.h"

#include "engine/pass.h"

namespace qwen3cpu {

DenseMlp::DenseMlp(const Config& c, const Tensors& tensors, const std::string& prefix)
    : gate_proj_(tensors.matrix(prefix + "gate_proj.weight", c.intermediate_size, c.hidden_size)),
      up_proj_(tensors.matrix(prefix + "up_proj.weight", c.intermediate_size, c.hidden_size)),
      down_proj_(tensors.matrix(prefix + "down_proj.weight", c.hidden_size, c.intermediate_size)),
      stride_(spread_rows(c.intermediate_size)) {}

void DenseMlp::reserve(int n_tokens, Workspace& workspace) const {
  workspace.gate.reserve(n_tokens * stride_);
  workspace.up.reserve(n_tokens * stride_);
}

void DenseMlp::add(Team& team, Pass& pass) const {
  const float* gate = pass.workspace.gate.get();
  gate_and_up(team, pass);
  pass.copy(team, gate, stride_, down_proj_.cols, pass.inputs.down, down_proj_.cols);
  pass.prepare(team, gate, stride_, down_proj_);
  pass.project_and_add(team, down_proj_, nullptr);
}

// gate = silu(gate_proj h) * up_proj h. The thread that computes a piece of both combines them.
void DenseMlp::gate_and_up(Team& team, Pass& pass) const {
  float *gates = pass.workspace.gate.get(), *ups = pass.workspace.up.get();
  const Pieces pieces(gate_proj_, pass.n_tokens, team.size());
  team.for_each(pieces.count(), [&](int i) {
    const Pieces::Piece piece = pieces[i];
    pass.multiply(team, gate_proj_, piece, gates, stride_);
    pass.multiply(team, up_proj_, piece, ups, stride_);
    const int row = piece.first_tile * kTileRows;
    for (int t = piece.first_token; t < piece.first_token + piece.tokens; ++t) {
      float* gate = gates + t * stride_ + row;
      pass.isa.ops.silu_mul(gate, ups + t * stride_ + row, piece.tiles * kTileRows, gate);
    }
  });
}

}  // namespace qwen3cpu
