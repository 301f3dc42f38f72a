// Computes queries, keys and values of the new tokens, stores keys and values in the cache, attends, and projects the
// output.
#include "engine/self_attention.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace qwen3cpu {
namespace {

AttentionShape shape_of(const Resources& resources) {
  const Config& c = resources.config;
  return {c.num_attention_heads, c.num_key_value_heads, c.head_dim, resources.pool.head_dim_padded()};
}

// Head `head` of a bias over all heads, which may be null.
const float* bias_of(const float* bias, int head, int head_dim) {
  return bias == nullptr ? nullptr : bias + int64_t{head} * head_dim;
}

void add_bias(const float* bias, int n, float* to) {
  if (bias == nullptr) return;
  for (int i = 0; i < n; ++i) to[i] += bias[i];
}

}  // namespace

SelfAttention::SelfAttention(Pass& pass, const Resources& resources)
    : pass_(pass),
      pool_(resources.pool),
      kernels_(resources.kv),
      shape_(shape_of(resources)),
      q_stride_(spread_rows(pass.config.q_size())),
      kv_stride_(spread_rows(pass.config.kv_size())),
      plan_(shape_) {
  for (const Pass::Row& row : pass.rows) plan_.add(row.sequence, row.position);
  plan_.finish(resources.threads);
  Workspace& ws = pass.workspace;
  const int64_t n = pass.n_tokens, half = pass.config.head_dim / 2;
  ws.q.reserve(n * q_stride_);
  ws.k.reserve(n * kv_stride_);
  ws.v.reserve(n * kv_stride_);
  ws.attended.reserve(n * pass.config.q_size());
  ws.cos.reserve(n * half);
  ws.sin.reserve(n * half);
}

int64_t SelfAttention::scratch_bytes(const Resources& resources) {
  const int64_t key_and_value = 2 * int64_t{sizeof(float)} * resources.pool.head_dim_padded();
  return std::max(attention_scratch_bytes(shape_of(resources)), key_and_value);
}

// As in the reference implementation, the angle is rounded to float first.
void SelfAttention::rope_tables(int t) {
  const Config& c = pass_.config;
  const int half = c.head_dim / 2;
  float* cos = pass_.workspace.cos.get() + int64_t{t} * half;
  float* sin = pass_.workspace.sin.get() + int64_t{t} * half;
  const auto position = static_cast<float>(pass_.rows[static_cast<size_t>(t)].position);
  for (int i = 0; i < half; ++i) {
    const double angle = position * c.inv_freq[static_cast<size_t>(i)];
    cos[i] = static_cast<float>(std::cos(angle)) * c.rope_scale;
    sin[i] = static_cast<float>(std::sin(angle)) * c.rope_scale;
  }
}

void SelfAttention::add(Team& team, const AttentionWeights& w, int layer) {
  project(team, w, kAll);
  rotate_and_store(team, w, layer, kAll);
  attend_all(team, layer);
  add_output(team, w);
}

void SelfAttention::store(Team& team, const AttentionWeights& w, int layer) {
  project(team, w, kKeysAndValues);
  rotate_and_store(team, w, layer, kKeysAndValues);
}

void SelfAttention::add_stored(Team& team, const AttentionWeights& w, int layer) {
  project(team, w, kQueries);
  rotate_and_store(team, w, layer, kQueries);
  attend_all(team, layer);
  add_output(team, w);
}

void SelfAttention::add_output(Team& team, const AttentionWeights& w) {
  const float* attended = pass_.workspace.attended.get();
  const int q_size = pass_.config.q_size();
  pass_.copy(team, attended, q_size, q_size, pass_.inputs.o, q_size);
  pass_.prepare(team, attended, q_size, w.o_proj);
  pass_.project_and_add(team, w.o_proj, w.o_bias);
}

void SelfAttention::project(Team& team, const AttentionWeights& w, Parts parts) {
  struct Task {
    const Matrix& w;
    float* y;
    int64_t stride;
    Pieces pieces;
  };
  Workspace& ws = pass_.workspace;
  const int n = pass_.n_tokens;
  const Task tasks[] = {{w.q_proj, ws.q.get(), q_stride_, Pieces(w.q_proj, n, team.size())},
                        {w.k_proj, ws.k.get(), kv_stride_, Pieces(w.k_proj, n, team.size())},
                        {w.v_proj, ws.v.get(), kv_stride_, Pieces(w.v_proj, n, team.size())}};
  const Task* first = (parts & kQueries) != 0 ? tasks : tasks + 1;
  const Task* end = (parts & kKeysAndValues) != 0 ? std::end(tasks) : tasks + 1;
  int total = 0;
  for (const Task* task = first; task != end; ++task) total += task->pieces.count();
  team.for_each(total, [&](int i) {
    const Task* task = first;
    while (i >= task->pieces.count()) i -= (task++)->pieces.count();
    pass_.multiply(team, task->w, task->pieces[i], task->y, task->stride);
  });
}

// Per token and head: bias, norm and RoPE of queries and keys; keys and values into the cache.
void SelfAttention::rotate_and_store(Team& team, const AttentionWeights& w, int layer, Parts parts) {
  const Config& c = pass_.config;
  const OpKernels& ops = pass_.isa.ops;
  Workspace& ws = pass_.workspace;
  const int d = c.head_dim, half = d / 2, padded = shape_.head_dim_padded;
  const auto finish = [&](float* x, const float* bias, const float* weight, int t) {
    add_bias(bias, d, x);
    ops.rms_norm(x, weight, c.rms_norm_eps, d, x);
    ops.rope(x, ws.cos.get() + int64_t{t} * half, ws.sin.get() + int64_t{t} * half, half);
  };
  team.for_each(pass_.n_tokens * shape_.kv_heads, [&](int i) {
    const int t = i / shape_.kv_heads, kv_head = i % shape_.kv_heads, group = shape_.group();
    const Pass::Row& row = pass_.rows[static_cast<size_t>(t)];
    for (int head = kv_head * group; (parts & kQueries) != 0 && head < (kv_head + 1) * group; ++head)
      finish(ws.q.get() + t * q_stride_ + int64_t{head} * d, bias_of(w.q_bias, head, d), row.vector(w.q_norm), t);
    if ((parts & kKeysAndValues) == 0) return;
    float* key = ws.k.get() + t * kv_stride_ + int64_t{kv_head} * d;
    float* value = ws.v.get() + t * kv_stride_ + int64_t{kv_head} * d;
    finish(key, bias_of(w.k_bias, kv_head, d), row.vector(w.k_norm), t);
    add_bias(bias_of(w.v_bias, kv_head, d), d, value);

    auto* padded_key = reinterpret_cast<float*>(pass_.scratch(team));
    float* padded_value = padded_key + padded;
    std::fill(std::copy(key, key + d, padded_key), padded_key + padded, 0.0f);
    std::fill(std::copy(value, value + d, padded_value), padded_value + padded, 0.0f);
    const KvPool::Block* block = row.sequence->block_of(row.position);
    kernels_.store(padded_key, padded_value, row.position % kKvBlock, padded, pool_.keys(block, layer, kv_head),
                   pool_.values(block, layer, kv_head));
  });
}

void SelfAttention::attend_all(Team& team, int layer) {
  const auto bundles = static_cast<int>(plan_.bundles().size());
  const int q_size = pass_.config.q_size();
  // All bundles of a head before the next head: those of one sequence have the same keys and values.
  team.for_each(bundles * shape_.kv_heads, [&](int i) {
    attend(kernels_, pool_, shape_, plan_.bundles()[static_cast<size_t>(i % bundles)], layer, i / bundles,
           pass_.workspace.q.get(), q_stride_, pass_.workspace.attended.get(), q_size, pass_.scratch(team));
  });
}

}  // namespace qwen3cpu
