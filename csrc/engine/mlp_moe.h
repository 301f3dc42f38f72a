// The MLP of models with experts: each token goes through the few experts that a router chooses for it.
#pragma once

#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/mlp.h"
#include "engine/routing.h"
#include "engine/tensors.h"

namespace qwen3cpu {

class MoeMlp : public Mlp {
 public:
  // Throws Error when a tensor is missing or misshapen, or when experts differ in their formats.
  MoeMlp(const Config& config, const Tensors& tensors, const std::string& prefix);
  std::vector<const Matrix*> matrices() const override;
  Readers readers() const override { return {router_, experts_[0].gate_proj, experts_[0].up_proj}; }
  void reserve(int n_tokens, Workspace& workspace) const override;
  void add(Team& team, Pass& pass) const override;

 private:
  struct Expert {
    Matrix gate_proj, up_proj;  // [width, hidden]
    Matrix down_proj;           // [hidden, width]
  };
  void fetch(const Routing& routing) const;
  void route(Team& team, Pass& pass) const;
  void gather(Team& team, Pass& pass) const;
  void gate_and_up(Team& team, Pass& pass) const;
  void show(Team& team, Pass& pass) const;
  void down(Team& team, Pass& pass) const;
  void add_up(Team& team, Pass& pass) const;
  const Matrix& like(Routing::Product product) const;
  void count_pieces(Routing& routing, int threads) const;
  // Calls body(share, piece of its expert's matrix) for every piece of the products of all shares.
  template <class Body>
  void for_pieces(Team& team, const Routing& routing, Routing::Product product, Body&& body) const;

  Matrix router_;  // [experts, hidden]
  std::vector<Expert> experts_;
  int chosen_;
  bool fetched_;
  bool normalised_;
  int64_t stride_;         // floats from one row of gates to the next
  int64_t logits_stride_;  // from one token's router logits to the next
};

}  // namespace qwen3cpu
