// The state that all parts of a layer share during one pass: the new tokens, the workspace, and the steps that
// attention and MLP have in common. All threads of the team run every step together. A step ends when all of its work
// is done.
#pragma once

#include <vector>

#include "engine/batch.h"
#include "engine/reductions.h"
#include "engine/weights.h"
#include "engine/workspace.h"

namespace qwen3cpu {

// The objects that a pass works with. All of them outlive the pass.
struct Resources {
  const Config& config;
  const Weights& weights;
  const IsaTable& isa;
  const KvKernels& kv;
  const KvPool& pool;
  Workspace& workspace;
  int threads;
};

class Pass {
 public:
  struct Row {  // one new token
    int token;
    int position;
    const Sequence* sequence;
    const Adapter* adapter;

    // The norm weight or bias that this token's adapter has instead of the model's, or the model's.
    const float* vector(const float* models) const { return adapter == nullptr ? models : adapter->vector_of(models); }
  };

  // scratch_bytes: scratch of each thread, besides that of products.
  Pass(const Resources& resources, const std::vector<BatchItem>& batch, const LayerInputs& inputs,
       int64_t scratch_bytes);
  // Continues a pass over some of its tokens (ascending), in the same workspace.
  Pass(const Pass& whole, const std::vector<int>& tokens, int threads);

  // Normalises x and prepares the result for its readers. Begins to reduce it for the tokens whose adapters need that.
  void norm(Team& team, const float* weight, const Readers& readers);
  // Prepares inputs of `reader`, [tokens][stride], and begins to reduce them. `from` must stay valid until the product
  // is done.
  void prepare(Team& team, const float* from, int64_t stride, const Matrix& reader);
  // y = w input for the rows and tokens of a piece, called by one thread. Every product of a layer goes through here.
  void multiply(const Team& team, const Matrix& w, const Pieces::Piece& piece, float* y, int64_t ldy) {
    multiply(team, w, piece, y, ldy, runs);
  }
  // The same for other tokens than those of the pass. of: their adapters.
  void multiply(const Team& team, const Matrix& w, const Pieces::Piece& piece, float* y, int64_t ldy,
                const AdapterRuns& of);
  // Its two steps: the product without the adapters' b u, and what that and the factor change.
  void multiply_alone(const Team& team, const Matrix& w, const Pieces::Piece& piece, float* y, int64_t ldy,
                      const AdapterRuns& of);
  void add_low_rank(const Team& team, const Matrix& w, const Pieces::Piece& piece, float* y, int64_t ldy,
                    const AdapterRuns& of);
  void reduce(const Team& team, const Readers& readers, const float* from, int64_t stride, const AdapterRuns& of);
  // x += w input + bias; bias may be null.
  void project_and_add(Team& team, const Matrix& w, const float* bias);
  // One row of `cols` floats a token; `to` may be null.
  void copy(Team& team, const float* from, int64_t from_stride, int cols, float* to, int64_t to_stride);

  uint8_t* scratch(const Team& team) { return workspace.scratch.get() + team.rank() * scratch_bytes_; }

  const Config& config;
  const IsaTable& isa;
  Workspace& workspace;
  const LayerInputs inputs;
  std::vector<Row> rows;
  AdapterRuns runs;
  int n_tokens;
  int64_t hidden_stride;  // floats from one token of the residual stream to the next

 private:
  TokenRows reduced() { return {workspace.reduced.get(), reduced_stride_}; }

  int64_t scratch_bytes_;
  int64_t reduced_stride_ = 0;
  Reductions reductions_;
};

}  // namespace qwen3cpu
