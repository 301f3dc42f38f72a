// What a forward pass takes: a ragged batch, several sequences with any number of new tokens each.
#pragma once

#include <memory>
#include <vector>

#include "engine/kv_cache.h"

namespace qwen3cpu {

// New tokens of one sequence, and the offsets among them whose logits are wanted (ascending).
struct BatchItem {
  std::shared_ptr<Sequence> sequence;
  std::vector<int> tokens;
  std::vector<int> wanted;
};

// Where a pass over one layer leaves the inputs of its matrices; each is null or has room for all tokens.
struct LayerInputs {
  float* qkv = nullptr;      // [tokens][hidden]
  float* o = nullptr;        // [tokens][heads * head_dim]
  float* gate_up = nullptr;  // [tokens][hidden]
  float* down = nullptr;     // [tokens][intermediate]
};

}  // namespace qwen3cpu
