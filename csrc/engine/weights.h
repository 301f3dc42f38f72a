// The weights of the model, named as in the checkpoint. Views only: the caller keeps the arrays.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/config.h"
#include "engine/mlp.h"
#include "engine/tensors.h"

namespace qwen3cpu {

struct AttentionWeights {
  Matrix q_proj, k_proj, v_proj;  // [heads * head_dim | kv_heads * head_dim, hidden]
  Matrix o_proj;                  // [hidden, heads * head_dim]
  const float* q_norm;            // [head_dim]
  const float* k_norm;            // [head_dim]
  const float* q_bias = nullptr;  // attention_bias only
  const float* k_bias = nullptr;
  const float* v_bias = nullptr;
  const float* o_bias = nullptr;

  // The matrices that read the normed residual stream.
  Readers readers() const { return {q_proj, k_proj, v_proj}; }
};

struct Layer {
  const float* input_layernorm;  // [hidden]
  AttentionWeights self_attn;
  const float* post_attention_layernorm;  // [hidden]
  std::unique_ptr<const Mlp> mlp;
};

struct Weights {
  Matrix embed_tokens;  // [vocab, hidden]
  std::vector<Layer> layers;
  const float* norm;  // [hidden]
  Matrix lm_head;     // embed_tokens when tied

  // Columns of the widest matrix that takes its input in each form (0: no matrix does).
  std::array<int, kActivations> widest_input{};
};

// Finds every tensor of the model. Throws Error as Tensors does.
Weights collect_weights(const Config& config, const Tensors& tensors);

}  // namespace qwen3cpu
