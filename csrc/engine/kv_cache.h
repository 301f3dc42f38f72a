// Keys and values of sequences, in reference-counted blocks of kKvBlock positions. A sequence is a list of blocks;
// sequences that share a prefix share its blocks until one of them writes.
//
// One block holds every layer: [layer][kv head]{ plane of keys, plane of values }, see csrc/layout/format.h.
//
// There are two kinds of locks, so that no function here waits for a pass over other sequences. The pool's lock guards
// the references and the free blocks, and is held for a few instructions. A sequence's own lock guards its list. A pass
// takes the model's lock first, then the locks of all sequences of its batch, then the pool's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/table.h"
#include "system/fork_locks.h"

namespace qwen3cpu {

// Hands out blocks and keeps freed ones for the next sequence. Thread-safe.
class KvPool {
 public:
  KvPool(KvFormat format, int layers, int kv_heads, int head_dim);
  ~KvPool();
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  struct Block {
    uint8_t* data;
    int references;  // guarded by the pool's lock
  };
  Block* acquire();  // one reference, contents undefined; throws std::bad_alloc
  void share(Block* block);
  void release(Block* block);
  bool shared(const Block* block) const;  // whether it has more than one reference
  Block* copy(const Block* block);

  int head_dim_padded() const { return head_dim_padded_; }
  int64_t block_bytes() const { return block_bytes_; }
  int blocks_in_use() const;

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
  mutable BriefLock lock_;
  int in_use_ = 0;
  std::vector<Block*> free_;
};

// One more reference to a full block of a sequence. It keeps the block's contents when the sequence changes or ends.
class HeldBlock {
 public:
  HeldBlock(std::shared_ptr<KvPool> pool, KvPool::Block* block) : pool_(std::move(pool)), block_(block) {
    pool_->share(block_);
  }
  ~HeldBlock() { pool_->release(block_); }
  HeldBlock(const HeldBlock&) = delete;
  HeldBlock& operator=(const HeldBlock&) = delete;

  const KvPool& pool() const { return *pool_; }
  KvPool::Block* block() const { return block_; }
  bool shared() const { return pool_->shared(block_); }

 private:
  std::shared_ptr<KvPool> pool_;
  KvPool::Block* block_;
};

class Sequence {
 public:
  explicit Sequence(std::shared_ptr<KvPool> pool) : pool_(std::move(pool)) {}
  // Holds the positions of these blocks, in order. Throws Error for one of another pool.
  Sequence(std::shared_ptr<KvPool> pool, const std::vector<std::shared_ptr<HeldBlock>>& blocks);
  // In a child process, a sequence that another thread was changing at the fork is not touched.
  ~Sequence() {
    if (!lock_.lost()) drop(0);
  }
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  // These functions wait for a pass over this sequence, and for no other pass.

  int length() const { return length_; }  // does not wait
  void truncate(int length);              // throws Error outside 0..length()
  void release() { truncate(0); }
  std::shared_ptr<Sequence> fork();
  std::shared_ptr<HeldBlock> hold(int index);  // throws Error when block `index` is not full
  std::vector<KvPool::Block*> block_list();
  void read(int index, uint8_t* out);  // copies block `index`; throws Error when there is none
  void append(const uint8_t* data,
              int positions);  // a block as `read` gave it; throws Error unless whole ones are held

  // These functions are for a pass, which holds the lock from its first call to its end.

  WatchedLock& lock() { return lock_; }
  const KvPool& pool() const { return *pool_; }
  const std::vector<KvPool::Block*>& blocks() const { return blocks_; }
  const KvPool::Block* block_of(int position) const { return blocks_[static_cast<size_t>(position / kKvBlock)]; }
  // Makes positions [length, length + n) writable: adds new blocks, and copies a shared last one. The length does not
  // change. Throws std::bad_alloc, and the sequence then holds the same positions as without the call.
  void prepare(int n);
  // Counts n prepared positions as held.
  void extend(int n) { length_ += n; }
  // Frees the prepared positions that were not counted.
  void rewind() { drop(length_); }

 private:
  void drop(int length);

  std::shared_ptr<KvPool> pool_;
  WatchedLock lock_;
  std::vector<KvPool::Block*> blocks_;
  std::atomic<int> length_{0};
};

}  // namespace qwen3cpu
