// The input of a forward pass: a ragged batch, several sequences with any number of new tokens each.
#pragma once

#include <memory>
#include <vector>

#include "engine/adapter.h"
#include "engine/kv_cache.h"

namespace qwen3cpu {

// The output of a pass for a wanted token.
enum class Output : uint8_t {
  logits,  // [vocab], in rows of padded_rows(vocab) floats
  hidden,  // [hidden]: the residual stream after the last layer and the final norm
  // As logits. To save time, a logit may be -infinity if `top` others are larger or its row is not a token.
  top_logits,
};
inline constexpr int kMostTop = 64;

// New tokens of one sequence, and the offsets among them whose output is wanted (ascending).
struct BatchItem {
  std::shared_ptr<Sequence> sequence;
  std::vector<int> tokens;
  std::vector<int> wanted;
  Output output = Output::logits;
  int top = kMostTop;                                // 1 to kMostTop
  std::shared_ptr<const Adapter> adapter = nullptr;  // of this model; null: the model alone
};

// Where a pass writes its outputs: a row for each wanted token of the items of that kind, in the order of the batch.
struct OutputRows {
  float* logits = nullptr;
  float* hidden = nullptr;
  float* top_logits = nullptr;
};

// Where a pass over one layer leaves the inputs of its matrices; each is null or has room for all tokens.
struct LayerInputs {
  float* qkv = nullptr;      // [tokens][hidden]
  float* o = nullptr;        // [tokens][heads * head_dim]
  float* gate_up = nullptr;  // [tokens][hidden]
  float* down = nullptr;     // [tokens][intermediate]: of a layer without experts
  float* experts = nullptr;  // [tokens][chosen][width]: of the down projections of a layer with experts
  int* chosen = nullptr;     // [tokens][chosen]: the experts, ascending
};

}  // namespace qwen3cpu
