// The interface between the MLP of a layer and the rest of the forward pass. Each kind of MLP has a file of its own
// (such as mlp_dense.cc) and is made in `collect_weights`.
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
  // The matrices that read the normed residual stream.
  virtual Readers readers() const = 0;
  // Makes room for the intermediate results of `add`.
  virtual void reserve(int n_tokens, Workspace& workspace) const = 0;
  // x += mlp(h) for all tokens. h is the input that the pass has normed and prepared for readers().
  virtual void add(Team& team, Pass& pass) const = 0;
};

}  // namespace qwen3cpu
