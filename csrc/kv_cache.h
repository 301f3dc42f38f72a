// Keys and values of sequences, in reference-counted blocks of kKvBlock positions. A sequence is a list of blocks;
// sequences that share a prefix share its blocks until one of them writes.
//
// One block holds every layer: [layer][kv head]{ plane of keys, plane of values }, see csrc/format.h.
// Not thread-safe: the model's lock covers every call.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/table.h"

namespace qwen3cpu {

// Hands out blocks and keeps freed ones for the next sequence.
class KvPool {
 public:
  KvPool(KvFormat format, int layers, int kv_heads, int head_dim);
  ~KvPool();
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  struct Block {
    uint8_t* data;
    int references;
  };
  Block* acquire();  // one reference, contents undefined; throws std::bad_alloc
  void share(Block* block) { ++block->references; }
  void release(Block* block);
  Block* copy(const Block* block);

  int head_dim_padded() const { return head_dim_padded_; }
  int64_t block_bytes() const { return block_bytes_; }
  int blocks_in_use() const { return in_use_; }

  uint8_t* keys(const Block* block, int layer, int kv_head) const {
    return block->data + (int64_t{layer} * kv_heads_ + kv_head) * 2 * plane_bytes_;
  }
  uint8_t* values(const Block* block, int layer, int kv_head) const {
    return keys(block, layer, kv_head) + plane_bytes_;
  }

 private:
  int kv_heads_;
  int head_dim_padded_;
  int64_t plane_bytes_;  // keys or values of one layer and KV head
  int64_t block_bytes_;
  int in_use_ = 0;
  std::vector<Block*> free_;
};

class Sequence {
 public:
  explicit Sequence(std::shared_ptr<KvPool> pool) : pool_(std::move(pool)) {}
  ~Sequence() { truncate(0); }
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  int length() const { return length_; }
  const KvPool& pool() const { return *pool_; }
  const std::vector<KvPool::Block*>& blocks() const { return blocks_; }
  const KvPool::Block* block_of(int position) const { return blocks_[position / kKvBlock]; }

  // Makes positions [length, length + n) writable: new blocks, and a copy of a shared last one. The length stays.
  // Throws std::bad_alloc with the sequence unchanged in all that matters.
  void prepare(int n);
  // Counts n prepared positions as held.
  void extend(int n) { length_ += n; }
  void truncate(int length);
  std::shared_ptr<Sequence> fork() const;

 private:
  std::shared_ptr<KvPool> pool_;
  std::vector<KvPool::Block*> blocks_;
  int length_ = 0;
};

}  // namespace qwen3cpu
