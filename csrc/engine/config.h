// The shape of a model, as its config.json gives it.
#pragma once

#include <vector>

namespace qwen3cpu {

// Layers whose MLP is made of experts.
struct Experts {
  int count = 0;  // of a layer; 0: the model has none
  int chosen = 0;
  int width = 0;                  // rows of an expert's gate and up projections
  bool normalised = false;        // whether the weights of the chosen ones are scaled to add up to 1
  bool fetched = false;           // whether each is read from disk when it is chosen, because memory is too small
  std::vector<int> dense_layers;  // those without experts
};

struct Config {
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_hidden_layers = 0;
  int num_attention_heads = 0;
  int num_key_value_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  int tokens = 0;  // rows of the head that stand for a token: the first ones
  float rms_norm_eps = 0;
  std::vector<float> inv_freq;  // [head_dim / 2]
  float rope_scale = 1;         // multiplies cos and sin (YaRN)
  int context = 0;              // positions that a sequence may hold
  bool int16_inputs = false;    // whether integer products take their inputs in two parts of 8 bits
  Experts experts;

  int q_size() const { return num_attention_heads * head_dim; }
  int kv_size() const { return num_key_value_heads * head_dim; }
  bool has_experts(int layer) const;
};

// Throws Error, which names the first impossible value.
void validate(const Config& config);

}  // namespace qwen3cpu
