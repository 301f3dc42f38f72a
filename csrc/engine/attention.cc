// Gathers the query rows of a piece, walks the blocks of keys from position 0 and scatters the result.
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
  const int64_t rows = int64_t{shape.group()} * shape.tokens_per_piece();
  return 2 * round_up(rows * shape.head_dim_padded * 4, kCacheLine) + round_up(rows * 4, kCacheLine) +
         round_up(rows * static_cast<int64_t>(sizeof(SoftmaxState)), kCacheLine) +
         attend_scratch_bytes(shape.head_dim_padded);
}

void attend(const KvKernels& kernels, const AttentionShape& shape, const AttentionPiece& piece, int layer, int kv_head,
            const float* q, int64_t ldq, float* out, int64_t ldout, uint8_t* scratch) {
  const int group = shape.group(), head_dim = shape.head_dim, padded = shape.head_dim_padded;
  const int rows = group * piece.tokens;
  Carve carve(scratch);
  float* queries = carve.take<float>(int64_t{rows} * padded);  // [tokens][group][padded]
  float* result = carve.take<float>(int64_t{rows} * padded);
  int* count = carve.take<int>(rows);
  auto* state = carve.take<SoftmaxState>(rows);
  uint8_t* kernel_scratch = carve.take<uint8_t>(0);

  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  for (int row = 0; row < rows; ++row) {
    const int token = row / group, head = kv_head * group + row % group;
    const float* from = q + (piece.first_row + token) * ldq + int64_t{head} * head_dim;
    float* to = queries + int64_t{row} * padded;
    for (int d = 0; d < head_dim; ++d) to[d] = from[d] * scale;
    std::fill(to + head_dim, to + padded, 0.0f);
    state[row] = {-std::numeric_limits<float>::infinity(), 0.0f};
  }
  std::memset(result, 0, sizeof(float) * static_cast<size_t>(rows) * static_cast<size_t>(padded));

  const KvPool& pool = piece.sequence->pool();
  const int last_position = piece.first_position + piece.tokens - 1;
  std::fill(count, count + rows, kKvBlock);
  for (int first = 0; first <= last_position; first += kKvBlock) {
    if (first + kKvBlock > piece.first_position + 1)
      for (int row = 0; row < rows; ++row)
        count[row] = std::clamp(piece.first_position + row / group + 1 - first, 0, kKvBlock);
    const KvPool::Block* block = piece.sequence->block_of(first);
    const bool last = first + kKvBlock > last_position;
    const void* next_k = last ? nullptr : pool.keys(piece.sequence->block_of(first + kKvBlock), layer, kv_head);
    kernels.attend(queries, pool.keys(block, layer, kv_head), pool.values(block, layer, kv_head), count, rows, padded,
                   state, result, kernel_scratch, next_k);
  }

  for (int row = 0; row < rows; ++row) {
    const int token = row / group, head = kv_head * group + row % group;
    float* to = out + (piece.first_row + token) * ldout + int64_t{head} * head_dim;
    const float* from = result + int64_t{row} * padded;
    for (int d = 0; d < head_dim; ++d) to[d] = from[d] / state[row].sum;
  }
}

}  // namespace qwen3cpu
