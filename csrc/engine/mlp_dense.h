// The gated MLP of dense models: down(silu(gate h) * up h).
#pragma once

#include <string>

#include "engine/config.h"
#include "engine/mlp.h"
#include "engine/tensors.h"

namespace qwen3cpu {

class DenseMlp : public Mlp {
 public:
  DenseMlp(const Config& config, const Tensors& tensors, const std::string& prefix);
  std::vector<const Matrix*> matrices() const override { return {&gate_proj_, &up_proj_, &down_proj_}; }
  Readers readers() const override { return {gate_proj_, up_proj_}; }
  void reserve(int n_tokens, Workspace& workspace) const override;
  void add(Team& team, Pass& pass) const override;

 private:
  void gate_and_up(Team& team, Pass& pass) const;

  Matrix gate_proj_, up_proj_;  // [intermediate, hidden]
  Matrix down_proj_;            // [hidden, intermediate]
  int64_t stride_;              // floats from one token's gate to the next
};

}  // namespace qwen3cpu
