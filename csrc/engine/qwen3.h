// The model: configuration, weights, workspace and the forward pass over a ragged batch. No dtype and no ISA in it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/attention.h"
#include "engine/kv_cache.h"
#include "engine/linear.h"

namespace qwen3cpu {

struct Config {
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_hidden_layers = 0;
  int num_attention_heads = 0;
  int num_key_value_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  float rms_norm_eps = 0;
  std::vector<float> inv_freq;  // [head_dim / 2]
  float rope_scale = 1;         // multiplies cos and sin (YaRN)
  int context = 0;              // positions that a sequence may hold

  int q_size() const { return num_attention_heads * head_dim; }
  int kv_size() const { return num_key_value_heads * head_dim; }
};

// Throws Error that names the first impossible value.
void validate(const Config& config);

struct Layer {
  const float* input_layernorm;           // [hidden]
  const float* post_attention_layernorm;  // [hidden]
  const float* q_norm;                    // [head_dim]
  const float* k_norm;                    // [head_dim]
  Matrix q_proj, k_proj, v_proj;          // [heads * head_dim | kv_heads * head_dim, hidden]
  Matrix o_proj;                          // [hidden, heads * head_dim]
  Matrix gate_proj, up_proj;              // [intermediate, hidden]
  Matrix down_proj;                       // [hidden, intermediate]
  const float* q_bias = nullptr;          // attention_bias only
  const float* k_bias = nullptr;
  const float* v_bias = nullptr;
  const float* o_bias = nullptr;
};

struct Weights {
  Matrix embed_tokens;  // [vocab, hidden]
  std::vector<Layer> layers;
  const float* norm;  // [hidden]
  Matrix lm_head;     // embed_tokens when tied
};

// A vector of floats with its length, as handed over by the caller.
struct Vector {
  const float* data;
  int64_t size;
};

// Finds every tensor by its Hugging Face name. Throws Error that names tensor, expected and found shape.
Weights collect_weights(const Config& config, const std::map<std::string, Matrix>& matrices,
                        const std::map<std::string, Vector>& vectors);

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

class Model {
 public:
  Model(Config config, Weights weights, KvFormat kv, int threads);

  const Config& config() const { return config_; }
  const std::shared_ptr<KvPool>& pool() const { return pool_; }
  // Floats from one row of logits to the next: the vocabulary rounded up to whole row tiles.
  int64_t logits_stride() const { return int64_t{weights_.lm_head.tiles()} * kTileRows; }

  // Appends every item's tokens to its sequence and writes the wanted logits, [wanted rows][logits_stride()].
  // Throws Error on bad input, before any sequence has changed. Locks the model.
  void forward(const std::vector<BatchItem>& batch, float* logits);

  // The three parts of a pass over whole sequences, for calibration: one after the other they give forward's logits bit
  // for bit. They throw Error on bad input and lock the model; the KV cache of run_layer is gone when it returns.

  // x [tokens][hidden] = the residual stream before layer 0.
  void embed(const std::vector<int>& tokens, float* x);
  // Takes x [sum of lengths][hidden], sequences one after another from position 0 on, through one layer.
  void run_layer(int layer, const std::vector<int>& lengths, float* x, const LayerInputs& inputs);
  // logits [n][logits_stride()] of x [n][hidden], the residual stream after the last layer.
  void head(const float* x, int n, float* logits);

  int threads() const { return threads_; }
  void set_threads(int threads);  // throws Error outside 1..1024; locks the model
  int64_t workspace_bytes() const;
  int64_t tokens_processed() const { return tokens_processed_; }
  int64_t calls() const { return calls_; }

 private:
  friend class Forward;
  // Everything that a pass needs besides weights and cache; grows with the largest batch seen.
  struct Workspace {
    Buffer<float> x;          // [tokens][hidden_stride]: the residual stream
    Buffer<float> normed;     // [tokens][hidden]
    Buffer<float> q;          // [tokens][q_stride]
    Buffer<float> k;          // [tokens][kv_stride]
    Buffer<float> v;          // [tokens][kv_stride]
    Buffer<float> attended;   // [tokens][heads * head_dim]
    Buffer<float> projected;  // [tokens][hidden_stride]: o_proj and down_proj before they are added to x
    Buffer<float> gate;       // [tokens][ffn_stride]
    Buffer<float> up;         // [tokens][ffn_stride]
    Buffer<float> cos, sin;   // [tokens][head_dim / 2]
    PreparedInput input;      // of the linear layer at hand
    Buffer<uint8_t> scratch;  // [threads][scratch_bytes]
  };

  void check(const std::vector<BatchItem>& batch) const;
  void check_token(int token, const std::string& name) const;
  void check_lengths(const std::vector<BatchItem>& batch) const;  // the sequences being locked

  Config config_;
  Weights weights_;
  const IsaTable& isa_;
  const KvKernels& kv_;
  std::shared_ptr<KvPool> pool_;
  int threads_;
  Workspace workspace_;
  std::atomic<int64_t> tokens_processed_{0};  // read while a pass runs
  std::atomic<int64_t> calls_{0};
  WatchedLock lock_;
};

}  // namespace qwen3cpu
