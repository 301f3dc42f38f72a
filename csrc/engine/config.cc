// Checks a configuration.
#include "engine/config.h"

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/table.h"
#include "system/error.h"

namespace qwen3cpu {

bool Config::has_experts(int layer) const {
  const std::vector<int>& dense = experts.dense_layers;
  return experts.count > 0 && std::find(dense.begin(), dense.end(), layer) == dense.end();
}

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
  if (c.tokens < 1 || c.tokens > c.vocab_size)
    throw Error("config: expected tokens from 1 to " + std::to_string(c.vocab_size) + ", found " +
                std::to_string(c.tokens));
  if (c.head_dim % 2 != 0) throw Error("config: expected an even head_dim, found " + std::to_string(c.head_dim));
  if (c.num_attention_heads % c.num_key_value_heads != 0)
    throw Error("config: expected num_attention_heads to be a multiple of num_key_value_heads, found " +
                std::to_string(c.num_attention_heads) + " and " + std::to_string(c.num_key_value_heads));
  if (static_cast<int>(c.inv_freq.size()) != c.head_dim / 2)
    throw Error("config: expected " + std::to_string(c.head_dim / 2) + " values of inv_freq, found " +
                std::to_string(c.inv_freq.size()));
  const Experts& e = c.experts;
  if (e.count == 0) return;
  if (e.count < 1 || e.count > kMostExperts || e.chosen < 1 || e.chosen > e.count || e.width < 1 || e.width > (1 << 24))
    throw Error("config: expected 1 to " + std::to_string(kMostExperts) +
                " experts, of which at least one is chosen, found " + std::to_string(e.chosen) + " of " +
                std::to_string(e.count) + " of width " + std::to_string(e.width));
}

}  // namespace qwen3cpu
