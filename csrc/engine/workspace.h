// The memory that a forward pass needs besides weights and KV cache. It grows to the size of the largest batch.
#pragma once

#include <vector>

#include "engine/linear.h"
#include "engine/routing.h"
#include "engine/top_rows.h"
#include "system/buffer.h"

namespace qwen3cpu {

struct Workspace {
  explicit Workspace(bool int16_inputs)
      : gathered_input(int16_inputs), expert_input(int16_inputs), input(int16_inputs) {}

  Buffer<float> x;               // [tokens][hidden_stride]: the residual stream
  Buffer<float> normed;          // [tokens][hidden]
  Buffer<float> q;               // [tokens][q_stride]
  Buffer<float> k;               // [tokens][kv_stride]
  Buffer<float> v;               // [tokens][kv_stride]
  Buffer<float> attended;        // [tokens][heads * head_dim]
  Buffer<float> projected;       // [tokens][hidden_stride]: o_proj and down_proj before they are added to x
  Buffer<float> gate;            // [tokens][ffn_stride]
  Buffer<float> up;              // [tokens][ffn_stride]
  Buffer<float> router_logits;   // [tokens][logits_stride]: of the experts
  Routing routing;               // a row is one token in one of its experts
  PreparedInput gathered_input;  // [rows]: of gate and up projections
  PreparedInput expert_input;    // [rows]: of down projections
  Buffer<float> expert_output;   // [rows][hidden_stride]
  Buffer<float> cos, sin;        // [tokens][head_dim / 2]
  Buffer<float> reduced;         // [tokens][reduced_stride]: inputs multiplied by the adapters' reductions
  PreparedInput input;           // of the current linear layer
  PreparedInput rest_input;      // of the head: the rounding error of `input`
  PreparedInput top_input;       // of the head, for tokens whose largest logits are wanted
  PreparedInput top_rest_input;
  std::vector<TopRows> top_rows;  // one for each of them
  Buffer<uint8_t> scratch;        // [threads][scratch_bytes]

  int64_t bytes() const {
    int64_t total = 0;
    for (const TopRows& rows : top_rows) total += rows.bytes();
    total += input.bytes() + top_input.bytes() + rest_input.bytes() + top_rest_input.bytes() + scratch.bytes();
    total += routing.bytes() + gathered_input.bytes() + expert_input.bytes();
    for (const Buffer<float>* b : {&x, &normed, &q, &k, &v, &attended, &projected, &gate, &up, &cos, &sin, &reduced,
                                   &router_logits, &expert_output})
      total += b->bytes();
    return total;
  }
};

}  // namespace qwen3cpu
