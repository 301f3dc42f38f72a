// From tensors by name to the weights of the model, every shape checked.
#include <string>
#include <utility>

#include "engine/qwen3.h"
#include "system/error.h"

namespace qwen3cpu {
namespace {

std::string shape(int64_t rows, int64_t cols) { return "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]"; }

// Looks tensors up by name and checks their shapes.
class Finder {
 public:
  Finder(const std::map<std::string, Matrix>& matrices, const std::map<std::string, Vector>& vectors)
      : matrices_(matrices), vectors_(vectors) {}

  Matrix matrix(const std::string& name, int rows, int cols) const {
    const auto found = matrices_.find(name);
    if (found == matrices_.end()) throw Error(name + ": missing; expected shape " + shape(rows, cols));
    const Matrix& m = found->second;
    if (m.rows != rows || m.cols != cols)
      throw Error(name + ": expected shape " + shape(rows, cols) + ", found " + shape(m.rows, m.cols));
    return m;
  }

  const float* vector(const std::string& name, int size) const {
    const float* found = optional_vector(name, size);
    if (found == nullptr) throw Error(name + ": missing; expected shape [" + std::to_string(size) + "]");
    return found;
  }

  const float* optional_vector(const std::string& name, int size) const {
    const auto found = vectors_.find(name);
    if (found == vectors_.end()) return nullptr;
    if (found->second.size != size)
      throw Error(name + ": expected shape [" + std::to_string(size) + "], found [" +
                  std::to_string(found->second.size) + "]");
    return found->second.data;
  }

  bool has_matrix(const std::string& name) const { return matrices_.count(name) > 0; }

 private:
  const std::map<std::string, Matrix>& matrices_;
  const std::map<std::string, Vector>& vectors_;
};

Layer collect_layer(const Config& c, const Finder& find, int n) {
  const std::string layer = "model.layers." + std::to_string(n) + ".";
  const std::string attn = layer + "self_attn.", mlp = layer + "mlp.";
  Layer l;
  l.input_layernorm = find.vector(layer + "input_layernorm.weight", c.hidden_size);
  l.post_attention_layernorm = find.vector(layer + "post_attention_layernorm.weight", c.hidden_size);
  l.q_norm = find.vector(attn + "q_norm.weight", c.head_dim);
  l.k_norm = find.vector(attn + "k_norm.weight", c.head_dim);
  l.q_proj = find.matrix(attn + "q_proj.weight", c.q_size(), c.hidden_size);
  l.k_proj = find.matrix(attn + "k_proj.weight", c.kv_size(), c.hidden_size);
  l.v_proj = find.matrix(attn + "v_proj.weight", c.kv_size(), c.hidden_size);
  l.o_proj = find.matrix(attn + "o_proj.weight", c.hidden_size, c.q_size());
  l.gate_proj = find.matrix(mlp + "gate_proj.weight", c.intermediate_size, c.hidden_size);
  l.up_proj = find.matrix(mlp + "up_proj.weight", c.intermediate_size, c.hidden_size);
  l.down_proj = find.matrix(mlp + "down_proj.weight", c.hidden_size, c.intermediate_size);
  l.q_bias = find.optional_vector(attn + "q_proj.bias", c.q_size());
  l.k_bias = find.optional_vector(attn + "k_proj.bias", c.kv_size());
  l.v_bias = find.optional_vector(attn + "v_proj.bias", c.kv_size());
  l.o_bias = find.optional_vector(attn + "o_proj.bias", c.hidden_size);
  return l;
}

}  // namespace

void validate(const Config& c) {
  const std::pair<const char*, int> sizes[] = {{"hidden_size", c.hidden_size},
                                               {"intermediate_size", c.intermediate_size},
                                               {"num_hidden_layers", c.num_hidden_layers},
                                               {"num_attention_heads", c.num_attention_heads},
                                               {"num_key_value_heads", c.num_key_value_heads},
                                               {"head_dim", c.head_dim},
                                               {"vocab_size", c.vocab_size},
                                               {"context", c.context}};
  for (const auto& [name, value] : sizes)
    if (value < 1 || value > (1 << 24))
      throw Error("config: expected " + std::string(name) + " from 1 to 16777216, found " + std::to_string(value));
  if (c.head_dim % 2 != 0) throw Error("config: expected an even head_dim, found " + std::to_string(c.head_dim));
  if (c.num_attention_heads % c.num_key_value_heads != 0)
    throw Error("config: expected num_attention_heads to be a multiple of num_key_value_heads, found " +
                std::to_string(c.num_attention_heads) + " and " + std::to_string(c.num_key_value_heads));
  if (static_cast<int>(c.inv_freq.size()) != c.head_dim / 2)
    throw Error("config: expected " + std::to_string(c.head_dim / 2) + " values of inv_freq, found " +
                std::to_string(c.inv_freq.size()));
}

Weights collect_weights(const Config& c, const std::map<std::string, Matrix>& matrices,
                        const std::map<std::string, Vector>& vectors) {
  const Finder find(matrices, vectors);
  Weights w;
  w.embed_tokens = find.matrix("model.embed_tokens.weight", c.vocab_size, c.hidden_size);
  w.lm_head =
      find.has_matrix("lm_head.weight") ? find.matrix("lm_head.weight", c.vocab_size, c.hidden_size) : w.embed_tokens;
  w.norm = find.vector("model.norm.weight", c.hidden_size);
  for (int n = 0; n < c.num_hidden_layers; ++n) w.layers.push_back(collect_layer(c, find, n));
  return w;
}

}  // namespace qwen3cpu
