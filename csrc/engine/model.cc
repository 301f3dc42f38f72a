// Checks a batch, locks the model and the sequences of a pass, and runs it.
#include "engine/model.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "engine/forward.h"
#include "kernels/registry.h"
#include "packing/pack.h"
#include "system/error.h"
#include "system/parallel.h"

namespace qwen3cpu {

Model::Model(Config config, Weights weights, KvFormat kv, int threads)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      isa_(chosen_isa()),
      kv_(isa_.kv[static_cast<int>(kv)]),
      pool_(std::make_shared<KvPool>(kv, config_.num_hidden_layers, config_.num_key_value_heads, config_.head_dim)),
      workspace_(config_.int16_inputs) {
  set_threads(threads);
}

void Model::set_threads(int threads) {
  if (threads < 1 || threads > 1024) throw Error("threads: expected 1 to 1024, found " + std::to_string(threads));
  const std::lock_guard<WatchedLock> guard(lock_);
  threads_ = threads;
}

bool Model::finds_top(const Adapter* adapter) const {
  const Matrix& head = weights_.lm_head;
  return head.format == Format::q4x2 && row_tiles(config_.tokens) >= TopRows::kLeastTiles &&
         (adapter == nullptr || adapter->change_of(head) == nullptr);
}

void Model::check(const std::vector<BatchItem>& batch) const {
  std::vector<const Sequence*> seen;
  for (size_t i = 0; i < batch.size(); ++i) {
    const BatchItem& item = batch[i];
    const std::string name = "batch item " + std::to_string(i);
    const auto n = static_cast<int64_t>(item.tokens.size());
    if (&item.sequence->pool() != pool_.get()) throw Error(name + ": its sequence belongs to another model");
    if (std::find(seen.begin(), seen.end(), item.sequence.get()) != seen.end())
      throw Error(name + ": its sequence stands in the batch twice");
    seen.push_back(item.sequence.get());
    if (n == 0) throw Error(name + ": expected at least one token, found none");
    for (int token : item.tokens) check_token(token, name);
    int64_t previous = -1;
    for (int offset : item.wanted) {
      if (offset <= previous || offset >= n)
        throw Error(name + ": wanted offsets must ascend within the " + std::to_string(n) + " new tokens, found " +
                    std::to_string(offset));
      previous = offset;
    }
  }
}

void Model::check_token(int token, const std::string& name) const {
  if (token < 0 || token >= config_.vocab_size)
    throw Error(name + ": expected token ids from 0 to " + std::to_string(config_.vocab_size - 1) + ", found " +
                std::to_string(token));
}

void Model::check_lengths(const std::vector<BatchItem>& batch) const {
  for (size_t i = 0; i < batch.size(); ++i) {
    const int held = batch[i].sequence->length();
    const auto n = static_cast<int64_t>(batch[i].tokens.size());
    if (held + n > config_.context)
      throw Error("batch item " + std::to_string(i) + ": " + std::to_string(held) + " positions held and " +
                  std::to_string(n) + " new tokens exceed the context of " + std::to_string(config_.context));
  }
}

void Model::forward(const std::vector<BatchItem>& batch, const OutputRows& to) {
  const std::lock_guard<WatchedLock> guard(lock_);
  check(batch);
  if (batch.empty()) return;
  // Another thread may truncate a sequence at the same time. That call waits until the pass over the sequence has
  // ended.
  std::vector<std::unique_lock<WatchedLock>> sequence_locks;
  for (const BatchItem& item : batch) sequence_locks.emplace_back(item.sequence->lock());
  check_lengths(batch);
  try {
    for (const BatchItem& item : batch) item.sequence->prepare(static_cast<int>(item.tokens.size()));
    Forward pass(resources(), batch, to);
    run_team(threads_, [&](Team& team) { pass.run(team); });
  } catch (...) {  // out of memory: give back what was prepared
    for (const BatchItem& item : batch) item.sequence->rewind();
    throw;
  }
  for (const BatchItem& item : batch) {
    item.sequence->extend(static_cast<int>(item.tokens.size()));
    tokens_processed_ += static_cast<int64_t>(item.tokens.size());
  }
  ++calls_;
}

void Model::embed(const std::vector<int>& tokens, float* x) {
  for (int token : tokens) check_token(token, "embed");
  const std::lock_guard<WatchedLock> guard(lock_);
  run_team(threads_, [&](Team& team) {
    team.for_each(static_cast<int>(tokens.size()), [&](int t) {
      row_to_float(weights_.embed_tokens, tokens[static_cast<size_t>(t)], x + int64_t{t} * config_.hidden_size);
    });
  });
}

void Model::run_layer(int layer, const std::vector<int>& lengths, float* x, const LayerInputs& inputs) {
  if (layer < 0 || layer >= config_.num_hidden_layers)
    throw Error("run_layer: expected a layer from 0 to " + std::to_string(config_.num_hidden_layers - 1) + ", found " +
                std::to_string(layer));
  const bool routed = inputs.experts != nullptr || inputs.chosen != nullptr;
  if (config_.has_experts(layer) ? inputs.down != nullptr : routed)
    throw Error(routed ? "run_layer: expected no room for experts: layer " + std::to_string(layer) + " is dense"
                       : "run_layer: expected room for experts, not for down: layer " + std::to_string(layer) +
                             " has experts");
  std::vector<BatchItem> batch;
  for (int length : lengths) {
    if (length < 1 || length > config_.context)
      throw Error("run_layer: expected sequences of 1 to " + std::to_string(config_.context) + " tokens, found " +
                  std::to_string(length));
    batch.push_back({std::make_shared<Sequence>(pool_), std::vector<int>(static_cast<size_t>(length)), {}});
  }
  if (batch.empty()) return;
  const std::lock_guard<WatchedLock> guard(lock_);
  for (const BatchItem& item : batch) item.sequence->prepare(static_cast<int>(item.tokens.size()));
  Forward pass(resources(), batch, {}, inputs);
  run_team(threads_, [&](Team& team) { pass.run_layer(team, layer, x); });
}

void Model::head(const float* x, int n, float* logits) {
  if (n == 0) return;
  BatchItem item{std::make_shared<Sequence>(pool_), std::vector<int>(static_cast<size_t>(n)), {}};
  for (int i = 0; i < n; ++i) item.wanted.push_back(i);
  const std::lock_guard<WatchedLock> guard(lock_);
  Forward pass(resources(), {item}, {logits, nullptr});
  run_team(threads_, [&](Team& team) { pass.run_head(team, x); });
}

}  // namespace qwen3cpu
