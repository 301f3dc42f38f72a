// The shape of a model, as its config.json gives it.
#pragma once

#include <vector>

namespace qwen3cpu {

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

  int q_size() const { return num_attention_heads * head_dim; }
  int kv_size() const { return num_key_value_heads * head_dim; }
};

// Throws Error that names the first impossible value.
void validate(const Config& config);

}  // namespace qwen3cpu
