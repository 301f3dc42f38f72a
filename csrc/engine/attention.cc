// Gathers the query rows of a bundle, runs its steps and scatters the result.
#include "engine/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace qwen3cpu {
namespace {

// Hands out consecutive 64-byte aligned parts of a scratch area.
class Carve {
 public:
  explicit Carve(uint8_t* p) : p_(p) {}
  template <class T>
  T* take(int64_t n) {
    T* out = reinterpret_cast<T*>(p_);
    p_ += round_up(n * static_cast<int64_t>(sizeof(T)), kCacheLine);
    return out;
  }

 private:
  uint8_t* p_;
};

}  // namespace

int64_t attention_scratch_bytes(const AttentionShape& shape) {
  const int64_t rows = shape.most_rows();
  return 2 * round_up(rows * shape.head_dim_padded * 4, kCacheLine) + round_up(rows * 4, kCacheLine) +
         round_up(rows * static_cast<int64_t>(sizeof(SoftmaxState)), kCacheLine) +
         attend_scratch_bytes(shape.head_dim_padded);
}

void attend(const KvKernels& kernels, const KvPool& pool, const AttentionShape& shape, const AttentionBundle& bundle,
            int layer, int kv_head, const float* q, int64_t ldq, float* out, int64_t ldout, uint8_t* scratch) {
  const int group = shape.group(), head_dim = shape.head_dim, padded = shape.head_dim_padded;
  const int rows = group * bundle.tokens;
  Carve carve(scratch);
  float* queries = carve.take<float>(int64_t{rows} * padded);
  float* result = carve.take<float>(int64_t{rows} * padded);
  int* full = carve.take<int>(rows);
  auto* state = carve.take<SoftmaxState>(rows);
  uint8_t* kernel_scratch = carve.take<uint8_t>(0);

  // f(row of the bundle, place of its head in q, place of its head in out)
  const auto for_rows = [&](auto&& f) {
    int row = 0;
    for (int i = 0; i < bundle.n_pieces; ++i) {
      const AttentionPiece& piece = bundle.pieces[i];
      for (int token = piece.first_row; token < piece.first_row + piece.tokens; ++token)
        for (int head = kv_head * group; head < (kv_head + 1) * group; ++head, ++row)
          f(row, q + token * ldq + int64_t{head} * head_dim, out + token * ldout + int64_t{head} * head_dim);
    }
  };

  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  for_rows([&](int row, const float* from, float*) {
    float* to = queries + int64_t{row} * padded;
    for (int d = 0; d < head_dim; ++d) to[d] = from[d] * scale;
    std::fill(to + head_dim, to + padded, 0.0f);
    state[row] = {-std::numeric_limits<float>::infinity(), 0.0f};
  });
  std::memset(result, 0, sizeof(float) * static_cast<size_t>(rows) * static_cast<size_t>(padded));
  std::fill(full, full + rows, kKvBlock);

  for (size_t i = 0; i < bundle.steps.size(); ++i) {
    const AttentionStep& step = bundle.steps[i];
    const bool last = i + 1 == bundle.steps.size();
    const int* count = step.counts == AttentionStep::kFull ? full : bundle.counts.data() + step.counts;
    const int64_t offset = int64_t{step.first_row} * padded;
    kernels.attend(queries + offset, pool.keys(step.block, layer, kv_head), pool.values(step.block, layer, kv_head),
                   count, step.rows, padded, state + step.first_row, result + offset, kernel_scratch,
                   last ? nullptr : pool.keys(bundle.steps[i + 1].block, layer, kv_head));
  }

  for_rows([&](int row, const float*, float* to) {
    const float* from = result + int64_t{row} * padded;
    for (int d = 0; d < head_dim; ++d) to[d] = from[d] / state[row].sum;
  });
}

}  // namespace qwen3cpu
