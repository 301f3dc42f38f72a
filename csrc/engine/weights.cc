// Collects the weights of the model from tensors by name.
#include "engine/weights.h"

#include <algorithm>
#include <string>

#include "engine/mlp_dense.h"
#include "engine/mlp_moe.h"

namespace qwen3cpu {
namespace {

AttentionWeights collect_attention(const Config& c, const Tensors& tensors, const std::string& prefix) {
  AttentionWeights a;
  a.q_proj = tensors.matrix(prefix + "q_proj.weight", c.q_size(), c.hidden_size);
  a.k_proj = tensors.matrix(prefix + "k_proj.weight", c.kv_size(), c.hidden_size);
  a.v_proj = tensors.matrix(prefix + "v_proj.weight", c.kv_size(), c.hidden_size);
  a.o_proj = tensors.matrix(prefix + "o_proj.weight", c.hidden_size, c.q_size());
  a.q_norm = tensors.vector(prefix + "q_norm.weight", c.head_dim);
  a.k_norm = tensors.vector(prefix + "k_norm.weight", c.head_dim);
  a.q_bias = tensors.optional_vector(prefix + "q_proj.bias", c.q_size());
  a.k_bias = tensors.optional_vector(prefix + "k_proj.bias", c.kv_size());
  a.v_bias = tensors.optional_vector(prefix + "v_proj.bias", c.kv_size());
  a.o_bias = tensors.optional_vector(prefix + "o_proj.bias", c.hidden_size);
  return a;
}

Layer collect_layer(const Config& c, const Tensors& tensors, int n) {
  const std::string prefix = "model.layers." + std::to_string(n) + ".";
  Layer l;
  l.input_layernorm = tensors.vector(prefix + "input_layernorm.weight", c.hidden_size);
  l.post_attention_layernorm = tensors.vector(prefix + "post_attention_layernorm.weight", c.hidden_size);
  l.self_attn = collect_attention(c, tensors, prefix + "self_attn.");
  if (c.has_experts(n))
    l.mlp = std::make_unique<MoeMlp>(c, tensors, prefix + "mlp.");
  else
    l.mlp = std::make_unique<DenseMlp>(c, tensors, prefix + "mlp.");
  return l;
}

void count_input(const Matrix& reader, std::array<int, kActivations>& widest) {
  int& cols = widest[static_cast<size_t>(activation_of(reader.format))];
  cols = std::max(cols, reader.cols);
}

}  // namespace

Weights collect_weights(const Config& c, const Tensors& tensors) {
  Weights w;
  w.embed_tokens = tensors.matrix("model.embed_tokens.weight", c.vocab_size, c.hidden_size);
  w.lm_head = tensors.has_matrix("lm_head.weight") ? tensors.matrix("lm_head.weight", c.vocab_size, c.hidden_size)
                                                   : w.embed_tokens;
  w.norm = tensors.vector("model.norm.weight", c.hidden_size);
  count_input(w.lm_head, w.widest_input);
  for (int n = 0; n < c.num_hidden_layers; ++n) {
    const Layer& l = w.layers.emplace_back(collect_layer(c, tensors, n));
    const AttentionWeights& a = l.self_attn;
    for (const Matrix* m : {&a.q_proj, &a.k_proj, &a.v_proj, &a.o_proj}) count_input(*m, w.widest_input);
    for (const Matrix* m : l.mlp->matrices()) count_input(*m, w.widest_input);
  }
  return w;
}

}  // namespace qwen3cpu
