// The model: configuration, weights, workspace and the passes that callers ask for. It does not depend on a weight
// format or instruction set.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/config.h"
#include "engine/kv_cache.h"
#include "engine/pass.h"
#include "engine/weights.h"
#include "engine/workspace.h"

namespace qwen3cpu {

class Model {
 public:
  Model(Config config, Weights weights, KvFormat kv, int threads);

  const Config& config() const { return config_; }
  const std::shared_ptr<KvPool>& pool() const { return pool_; }
  // Floats from one row of logits to the next: the vocabulary rounded up to whole row tiles.
  int64_t logits_stride() const { return padded_rows(weights_.lm_head.rows); }

  // Whether computing only the largest logits of a token takes less time than all; adapter: of the token, may be null.
  bool finds_top(const Adapter* adapter) const;

  // Appends every item's tokens to its sequence and writes the wanted outputs, logits in rows of logits_stride()
  // floats. Throws Error on bad input, before any sequence has changed. Locks the model.
  void forward(const std::vector<BatchItem>& batch, const OutputRows& to);

  // The three parts of a pass over whole sequences, for calibration. One after the other they give forward's logits,
  // bit for bit. They throw Error on bad input and lock the model. run_layer frees its KV cache when it returns.

  // x [tokens][hidden] = the residual stream before layer 0.
  void embed(const std::vector<int>& tokens, float* x);
  // Takes x [sum of lengths][hidden], sequences one after another from position 0 on, through one layer.
  void run_layer(int layer, const std::vector<int>& lengths, float* x, const LayerInputs& inputs);
  // logits [n][logits_stride()] of x [n][hidden], the residual stream after the last layer.
  void head(const float* x, int n, float* logits);

  int threads() const { return threads_; }
  void set_threads(int threads);  // throws Error outside 1..1024; locks the model
  int64_t workspace_bytes() const { return workspace_.bytes(); }
  int64_t tokens_processed() const { return tokens_processed_; }
  int64_t calls() const { return calls_; }

 private:
  Resources resources() { return {config_, weights_, isa_, kv_, *pool_, workspace_, threads_}; }
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
