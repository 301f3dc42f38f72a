// The forward pass of Qwen3 over a ragged batch.
#include "engine/qwen3.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "packing/pack.h"
#include "system/error.h"
#include "system/parallel.h"

namespace qwen3cpu {

// One pass: every member function is run by all threads of the team together, and ends with all of them in step.
class Forward {
 public:
  Forward(Model& model, const std::vector<BatchItem>& batch, float* logits, const LayerInputs& inputs = {});
  void run(Team& team);
  void run_layer(Team& team, int layer, float* x);
  void run_head(Team& team, const float* x);

 private:
  struct Row {  // one new token
    int token;
    int position;
    const Sequence* sequence;
  };

  void embed(Team& team);
  void attention(Team& team, const Layer& l, int layer);
  void mlp(Team& team, const Layer& l);
  void head(Team& team);

  void norm(Team& team, const float* weight, std::initializer_list<const Matrix*> readers);
  void prepare(Team& team, const float* from, int64_t stride, int cols, const Matrix& reader);
  void project_qkv(Team& team, const Layer& l);
  void rotate_and_store(Team& team, const Layer& l, int layer);
  void attend_all(Team& team, int layer);
  void project_and_add(Team& team, const Matrix& w, const float* bias);
  void gate_and_up(Team& team, const Layer& l);

  void reserve();
  void rope_tables(int row);
  void enter(Team& team, const float* x);
  void copy(Team& team, const float* from, int64_t from_stride, int cols, float* to, int64_t to_stride);
  Activation form(const Matrix& w) const { return isa_.formats[static_cast<int>(w.format)].activation; }
  uint8_t* scratch(const Team& team) { return ws_.scratch.get() + team.rank() * scratch_bytes_; }

  Model& model_;
  const Config& c_;
  const Weights& w_;
  const IsaTable& isa_;
  Model::Workspace& ws_;
  float* logits_;
  LayerInputs inputs_;
  AttentionShape shape_;
  int n_tokens_ = 0;
  int64_t q_stride_, kv_stride_, hidden_stride_, ffn_stride_, scratch_bytes_;
  std::vector<Row> rows_;
  std::vector<int> wanted_;  // rows whose logits are asked for
  std::vector<AttentionPiece> attention_pieces_;
};

namespace {

void add(const float* from, int n, float* to) {
  for (int i = 0; i < n; ++i) to[i] += from[i];
}

}  // namespace

Forward::Forward(Model& model, const std::vector<BatchItem>& batch, float* logits, const LayerInputs& inputs)
    : model_(model),
      c_(model.config_),
      w_(model.weights_),
      isa_(model.isa_),
      ws_(model.workspace_),
      logits_(logits),
      inputs_(inputs),
      shape_{c_.num_attention_heads, c_.num_key_value_heads, c_.head_dim, model.pool_->head_dim_padded()},
      q_stride_(spread_rows(c_.q_size())),
      kv_stride_(spread_rows(c_.kv_size())),
      hidden_stride_(spread_rows(c_.hidden_size)),
      ffn_stride_(spread_rows(c_.intermediate_size)) {
  for (const BatchItem& item : batch) {
    const int first_row = static_cast<int>(rows_.size()), start = item.sequence->length();
    const int n = static_cast<int>(item.tokens.size());
    for (int i = 0; i < n; ++i) rows_.push_back({item.tokens[static_cast<size_t>(i)], start + i, item.sequence.get()});
    for (int offset : item.wanted) wanted_.push_back(first_row + offset);
    for (int i = 0; i < n; i += shape_.tokens_per_piece())
      attention_pieces_.push_back(
          {item.sequence.get(), first_row + i, start + i, std::min(shape_.tokens_per_piece(), n - i)});
  }
  // Longest first, so that the phase does not end with one thread on the piece that has the most keys.
  std::stable_sort(attention_pieces_.begin(), attention_pieces_.end(), [](const auto& a, const auto& b) {
    return a.first_position + a.tokens > b.first_position + b.tokens;
  });
  n_tokens_ = static_cast<int>(rows_.size());
  reserve();
}

void Forward::reserve() {
  const int64_t n = n_tokens_;
  ws_.x.reserve(n * hidden_stride_);
  ws_.normed.reserve(n * c_.hidden_size);
  ws_.q.reserve(n * q_stride_);
  ws_.k.reserve(n * kv_stride_);
  ws_.v.reserve(n * kv_stride_);
  ws_.attended.reserve(n * c_.q_size());
  ws_.projected.reserve(n * hidden_stride_);
  ws_.gate.reserve(n * ffn_stride_);
  ws_.up.reserve(n * ffn_stride_);
  ws_.cos.reserve(n * c_.head_dim / 2);
  ws_.sin.reserve(n * c_.head_dim / 2);
  const auto head_form = form(w_.lm_head);
  ws_.input.reserve(head_form, n_tokens_, c_.hidden_size);
  const int widest = std::max({c_.hidden_size, c_.intermediate_size, c_.q_size()});
  for (const Layer& l : w_.layers)
    for (const Matrix* m : {&l.q_proj, &l.k_proj, &l.v_proj, &l.o_proj, &l.gate_proj, &l.up_proj, &l.down_proj})
      ws_.input.reserve(form(*m), n_tokens_, m->cols);
  scratch_bytes_ = std::max(matmul_scratch_bytes(widest), attention_scratch_bytes(shape_));
  scratch_bytes_ = round_up(scratch_bytes_ + 4 * shape_.head_dim_padded * 2, 4096);
  ws_.scratch.reserve(scratch_bytes_ * model_.threads_);
}

void Forward::run(Team& team) {
  embed(team);
  for (int layer = 0; layer < c_.num_hidden_layers; ++layer) {
    const Layer& l = w_.layers[static_cast<size_t>(layer)];
    attention(team, l, layer);
    mlp(team, l);
  }
  head(team);
}

void Forward::run_layer(Team& team, int layer, float* x) {
  enter(team, x);
  const Layer& l = w_.layers[static_cast<size_t>(layer)];
  attention(team, l, layer);
  mlp(team, l);
  copy(team, ws_.x.get(), hidden_stride_, c_.hidden_size, x, c_.hidden_size);
}

void Forward::run_head(Team& team, const float* x) {
  enter(team, x);
  head(team);
}

// Begins in the middle of a pass: the residual stream is x [tokens][hidden].
void Forward::enter(Team& team, const float* x) {
  copy(team, x, c_.hidden_size, c_.hidden_size, ws_.x.get(), hidden_stride_);
  team.for_each(n_tokens_, [&](int t) { rope_tables(t); });
}

// One row a token; `to` may be null.
void Forward::copy(Team& team, const float* from, int64_t from_stride, int cols, float* to, int64_t to_stride) {
  if (to == nullptr) return;
  team.for_each(n_tokens_, [&](int t) { std::copy_n(from + t * from_stride, cols, to + t * to_stride); });
}

void Forward::embed(Team& team) {
  team.for_each(n_tokens_, [&](int t) {
    row_to_float(w_.embed_tokens, rows_[static_cast<size_t>(t)].token, ws_.x.get() + t * hidden_stride_);
    rope_tables(t);
  });
}

// cos and sin of a position, computed as the reference implementation does: the angle is rounded to float first.
void Forward::rope_tables(int row) {
  const int half = c_.head_dim / 2;
  float* cos = ws_.cos.get() + int64_t{row} * half;
  float* sin = ws_.sin.get() + int64_t{row} * half;
  const auto position = static_cast<float>(rows_[static_cast<size_t>(row)].position);
  for (int i = 0; i < half; ++i) {
    const double angle = position * c_.inv_freq[static_cast<size_t>(i)];
    cos[i] = static_cast<float>(std::cos(angle)) * c_.rope_scale;
    sin[i] = static_cast<float>(std::sin(angle)) * c_.rope_scale;
  }
}

// x += Wo attend(rope(norm(Wq h)), rope(norm(Wk h)), Wv h), h = norm(x)
void Forward::attention(Team& team, const Layer& l, int layer) {
  norm(team, l.input_layernorm, {&l.q_proj, &l.k_proj, &l.v_proj});
  copy(team, ws_.normed.get(), c_.hidden_size, c_.hidden_size, inputs_.qkv, c_.hidden_size);
  project_qkv(team, l);
  rotate_and_store(team, l, layer);
  attend_all(team, layer);
  copy(team, ws_.attended.get(), c_.q_size(), c_.q_size(), inputs_.o, c_.q_size());
  prepare(team, ws_.attended.get(), c_.q_size(), c_.q_size(), l.o_proj);
  project_and_add(team, l.o_proj, l.o_bias);
}

// x += Wdown(silu(Wgate h) * Wup h), h = norm(x)
void Forward::mlp(Team& team, const Layer& l) {
  norm(team, l.post_attention_layernorm, {&l.gate_proj, &l.up_proj});
  copy(team, ws_.normed.get(), c_.hidden_size, c_.hidden_size, inputs_.gate_up, c_.hidden_size);
  gate_and_up(team, l);
  copy(team, ws_.gate.get(), ffn_stride_, c_.intermediate_size, inputs_.down, c_.intermediate_size);
  prepare(team, ws_.gate.get(), ffn_stride_, c_.intermediate_size, l.down_proj);
  project_and_add(team, l.down_proj, nullptr);
}

// logits = Whead norm(x), for the wanted rows only.
void Forward::head(Team& team) {
  const int n = static_cast<int>(wanted_.size());
  if (n == 0) return;
  const Activation head_form = form(w_.lm_head);
  team.for_each(n, [&](int i) {
    float* normed = ws_.normed.get() + int64_t{i} * c_.hidden_size;
    isa_.ops.rms_norm(ws_.x.get() + wanted_[static_cast<size_t>(i)] * hidden_stride_, w_.norm, c_.rms_norm_eps,
                      c_.hidden_size, normed);
    ws_.input.prepare(isa_.ops, head_form, c_.hidden_size, i, normed);
  });
  const Pieces pieces(w_.lm_head, n, team.size());
  const int64_t stride = model_.logits_stride();
  team.for_each(pieces.count(),
                [&](int i) { multiply(isa_, w_.lm_head, ws_.input, pieces[i], logits_, stride, scratch(team)); });
}

// Normalises x and prepares it in the form of every reader.
void Forward::norm(Team& team, const float* weight, std::initializer_list<const Matrix*> readers) {
  team.for_each(n_tokens_, [&](int t) {
    float* normed = ws_.normed.get() + int64_t{t} * c_.hidden_size;
    isa_.ops.rms_norm(ws_.x.get() + t * hidden_stride_, weight, c_.rms_norm_eps, c_.hidden_size, normed);
    unsigned done = 0;  // one bit per form: readers that share a form share the prepared input
    for (const Matrix* reader : readers) {
      const unsigned bit = 1u << static_cast<unsigned>(form(*reader));
      if ((done & bit) == 0) ws_.input.prepare(isa_.ops, form(*reader), c_.hidden_size, t, normed);
      done |= bit;
    }
  });
}

void Forward::prepare(Team& team, const float* from, int64_t stride, int cols, const Matrix& reader) {
  team.for_each(n_tokens_, [&](int t) { ws_.input.prepare(isa_.ops, form(reader), cols, t, from + t * stride); });
}

void Forward::project_qkv(Team& team, const Layer& l) {
  struct Task {
    const Matrix& w;
    float* y;
    int64_t stride;
    Pieces pieces;
  };
  const Task tasks[] = {{l.q_proj, ws_.q.get(), q_stride_, Pieces(l.q_proj, n_tokens_, team.size())},
                        {l.k_proj, ws_.k.get(), kv_stride_, Pieces(l.k_proj, n_tokens_, team.size())},
                        {l.v_proj, ws_.v.get(), kv_stride_, Pieces(l.v_proj, n_tokens_, team.size())}};
  int total = 0;
  for (const Task& task : tasks) total += task.pieces.count();
  team.for_each(total, [&](int i) {
    const Task* task = tasks;
    while (i >= task->pieces.count()) i -= (task++)->pieces.count();
    multiply(isa_, task->w, ws_.input, task->pieces[i], task->y, task->stride, scratch(team));
  });
}

// Per token and head: bias, norm and RoPE of queries and keys; keys and values into the cache.
void Forward::rotate_and_store(Team& team, const Layer& l, int layer) {
  const int heads = c_.num_attention_heads, kv_heads = c_.num_key_value_heads, d = c_.head_dim, half = d / 2;
  const int padded = shape_.head_dim_padded;
  const auto finish = [&](float* x, const float* bias, const float* weight, int t) {
    if (bias != nullptr) add(bias, d, x);
    isa_.ops.rms_norm(x, weight, c_.rms_norm_eps, d, x);
    isa_.ops.rope(x, ws_.cos.get() + int64_t{t} * half, ws_.sin.get() + int64_t{t} * half, half);
  };
  team.for_each(n_tokens_ * kv_heads, [&](int i) {
    const int t = i / kv_heads, kv_head = i % kv_heads, group = heads / kv_heads;
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
      finish(ws_.q.get() + t * q_stride_ + int64_t{head} * d, l.q_bias ? l.q_bias + int64_t{head} * d : nullptr,
             l.q_norm, t);
    float* key = ws_.k.get() + t * kv_stride_ + int64_t{kv_head} * d;
    float* value = ws_.v.get() + t * kv_stride_ + int64_t{kv_head} * d;
    finish(key, l.k_bias ? l.k_bias + int64_t{kv_head} * d : nullptr, l.k_norm, t);
    if (l.v_bias != nullptr) add(l.v_bias + int64_t{kv_head} * d, d, value);

    auto* padded_key = reinterpret_cast<float*>(scratch(team));
    float* padded_value = padded_key + padded;
    std::fill(std::copy(key, key + d, padded_key), padded_key + padded, 0.0f);
    std::fill(std::copy(value, value + d, padded_value), padded_value + padded, 0.0f);
    const Row& row = rows_[static_cast<size_t>(t)];
    const KvPool& pool = *model_.pool_;
    const KvPool::Block* block = row.sequence->block_of(row.position);
    model_.kv_.store(padded_key, padded_value, row.position % kKvBlock, padded, pool.keys(block, layer, kv_head),
                     pool.values(block, layer, kv_head));
  });
}

void Forward::attend_all(Team& team, int layer) {
  const auto pieces = static_cast<int>(attention_pieces_.size());
  // All pieces of a head before the next head: their keys and values are the same.
  team.for_each(pieces * c_.num_key_value_heads, [&](int i) {
    attend(model_.kv_, shape_, attention_pieces_[static_cast<size_t>(i % pieces)], layer, i / pieces, ws_.q.get(),
           q_stride_, ws_.attended.get(), c_.q_size(), scratch(team));
  });
}

// x += W input + bias
void Forward::project_and_add(Team& team, const Matrix& w, const float* bias) {
  const Pieces pieces(w, n_tokens_, team.size());
  team.for_each(pieces.count(), [&](int i) {
    const Pieces::Piece piece = pieces[i];
    multiply(isa_, w, ws_.input, piece, ws_.projected.get(), hidden_stride_, scratch(team));
    const int row = piece.first_tile * kTileRows, n = std::min(piece.tiles * kTileRows, w.rows - row);
    for (int t = piece.first_token; t < piece.first_token + piece.tokens; ++t) {
      float* projected = ws_.projected.get() + t * hidden_stride_ + row;
      if (bias != nullptr) add(bias + row, n, projected);
      add(projected, n, ws_.x.get() + t * hidden_stride_ + row);
    }
  });
}

// gate = silu(Wgate input) * Wup input; the thread that has both rows combines them.
void Forward::gate_and_up(Team& team, const Layer& l) {
  const Pieces pieces(l.gate_proj, n_tokens_, team.size());
  team.for_each(pieces.count(), [&](int i) {
    const Pieces::Piece piece = pieces[i];
    multiply(isa_, l.gate_proj, ws_.input, piece, ws_.gate.get(), ffn_stride_, scratch(team));
    multiply(isa_, l.up_proj, ws_.input, piece, ws_.up.get(), ffn_stride_, scratch(team));
    const int row = piece.first_tile * kTileRows;
    for (int t = piece.first_token; t < piece.first_token + piece.tokens; ++t) {
      float* gate = ws_.gate.get() + t * ffn_stride_ + row;
      isa_.ops.silu_mul(gate, ws_.up.get() + t * ffn_stride_ + row, piece.tiles * kTileRows, gate);
    }
  });
}

Model::Model(Config config, Weights weights, KvFormat kv, int threads)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      isa_(chosen_isa()),
      kv_(isa_.kv[static_cast<int>(kv)]),
      pool_(std::make_shared<KvPool>(kv, config_.num_hidden_layers, config_.num_key_value_heads, config_.head_dim)) {
  set_threads(threads);
}

void Model::set_threads(int threads) {
  if (threads < 1 || threads > 1024) throw Error("threads: expected 1 to 1024, found " + std::to_string(threads));
  const std::lock_guard<WatchedLock> guard(lock_);
  threads_ = threads;
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

void Model::forward(const std::vector<BatchItem>& batch, float* logits) {
  const std::lock_guard<WatchedLock> guard(lock_);
  check(batch);
  if (batch.empty()) return;
  // The caller may truncate a sequence from another thread meanwhile; that waits until the pass over it has ended.
  std::vector<std::unique_lock<WatchedLock>> sequence_locks;
  for (const BatchItem& item : batch) sequence_locks.emplace_back(item.sequence->lock());
  check_lengths(batch);
  try {
    for (const BatchItem& item : batch) item.sequence->prepare(static_cast<int>(item.tokens.size()));
    Forward pass(*this, batch, logits);
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
  Forward pass(*this, batch, nullptr, inputs);
  run_team(threads_, [&](Team& team) { pass.run_layer(team, layer, x); });
}

void Model::head(const float* x, int n, float* logits) {
  if (n == 0) return;
  BatchItem item{std::make_shared<Sequence>(pool_), std::vector<int>(static_cast<size_t>(n)), {}};
  for (int i = 0; i < n; ++i) item.wanted.push_back(i);
  const std::lock_guard<WatchedLock> guard(lock_);
  Forward pass(*this, {item}, logits);
  run_team(threads_, [&](Team& team) { pass.run_head(team, x); });
}

int64_t Model::workspace_bytes() const {
  int64_t total = workspace_.input.bytes() + workspace_.scratch.bytes();
  for (const Buffer<float>* b :
       {&workspace_.x, &workspace_.normed, &workspace_.q, &workspace_.k, &workspace_.v, &workspace_.attended,
        &workspace_.projected, &workspace_.gate, &workspace_.up, &workspace_.cos, &workspace_.sin})
    total += b->bytes();
  return total;
}

}  // namespace qwen3cpu
