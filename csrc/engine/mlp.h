// The MLP of a layer, as the rest of the forward pass knows it. Each kind of MLP is a file of its own (mlp_dense.cc)
// and one row in collecting the weights.
#pragma once

#include <vector>

#include "engine/linear.h"
#include "system/parallel.h"

namespace qwen3cpu {

class Pass;
struct Workspace;

class Mlp {
 public:
  virtual ~Mlp() = default;
  // Every matrix that multiplies with an input prepared by the pass.
  virtual std::vector<const Matrix*> matrices() const = 0;
  // What reads the normed residual stream.
  virtual Readers readers() const = 0;
  // Makes room for what `add` keeps between its steps.
  virtual void reserve(int n_tokens, Workspace& workspace) const = 0;
  // x += mlp(h) for all tokens; h is what the pass has normed and prepared for readers().
  virtual void add(Team& team, Pass& pass) const = 0;
};

}  // namespace qwen3cpu
