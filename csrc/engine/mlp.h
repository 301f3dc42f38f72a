// The MLP of a layer, as the rest of the forward pass knows it. Each kind of MLP is a file of its own (mlp_dense.cc)
// and one row in collect_mlp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/linear.h"
#include "engine/tensors.h"
#include "system/parallel.h"

namespace qwen3cpu {

class Pass;
struct Workspace;

class Mlp {
 public:
  virtual ~Mlp() = default;
  // Every matrix that multiplies with an input prepared by the pass.
  virtual std::vector<const Matrix*> matrices() const = 0;
  // The forms in which the normed residual stream is wanted.
  virtual ActivationForms input_forms() const = 0;
  // Makes room for what `add` keeps between its steps.
  virtual void reserve(int n_tokens, Workspace& workspace) const = 0;
  // x += mlp(h) for all tokens; h is what the pass has normed and prepared in input_forms().
  virtual void add(Team& team, Pass& pass) const = 0;
};

// The MLP whose tensors begin with `prefix` ("model.layers.0.mlp."). Throws Error as Tensors does.
std::unique_ptr<const Mlp> collect_mlp(const Config& config, const Tensors& tensors, const std::string& prefix);

}  // namespace qwen3cpu
