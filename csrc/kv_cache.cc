// The block pool and the sequences on it.
#include "kv_cache.h"

#include <cstring>
#include <utility>

#include "memory.h"

namespace qwen3cpu {

KvPool::KvPool(KvFormat format, int layers, int kv_heads, int head_dim)
    : kv_heads_(kv_heads), head_dim_padded_(static_cast<int>(round_up(head_dim, kTileRows))) {
  plane_bytes_ = kv_plane_bytes(format, head_dim_padded_);
  block_bytes_ = 2 * plane_bytes_ * kv_heads * layers;
}

KvPool::~KvPool() {
  for (Block* block : free_) {
    free_aligned(block->data);
    delete block;
  }
}

KvPool::Block* KvPool::acquire() {
  Block* block = nullptr;
  if (free_.empty()) {
    free_.reserve(free_.size() + static_cast<size_t>(in_use_) + 1);  // so that release() never allocates
    auto fresh = std::make_unique<Block>(Block{nullptr, 0});
    fresh->data = static_cast<uint8_t*>(allocate_aligned(block_bytes_));
    block = fresh.release();
  } else {
    block = free_.back();
    free_.pop_back();
  }
  block->references = 1;
  ++in_use_;
  return block;
}

void KvPool::release(Block* block) {
  if (--block->references > 0) return;
  --in_use_;
  free_.push_back(block);
}

KvPool::Block* KvPool::copy(const Block* block) {
  Block* fresh = acquire();
  std::memcpy(fresh->data, block->data, static_cast<size_t>(block_bytes_));
  return fresh;
}

void Sequence::prepare(int n) {
  const bool partial = length_ % kKvBlock != 0;
  if (partial && blocks_[length_ / kKvBlock]->references > 1) {
    KvPool::Block*& last = blocks_[length_ / kKvBlock];
    KvPool::Block* own = pool_->copy(last);
    pool_->release(last);
    last = own;
  }
  const auto needed = static_cast<size_t>(ceil_div(length_ + n, kKvBlock));
  blocks_.reserve(needed);
  while (blocks_.size() < needed) blocks_.push_back(pool_->acquire());
}

void Sequence::truncate(int length) {
  const auto kept = static_cast<size_t>(ceil_div(length, kKvBlock));
  while (blocks_.size() > kept) {
    pool_->release(blocks_.back());
    blocks_.pop_back();
  }
  length_ = length;
}

std::shared_ptr<Sequence> Sequence::fork() const {
  auto other = std::make_shared<Sequence>(pool_);
  const auto held = static_cast<size_t>(ceil_div(length_, kKvBlock));
  other->blocks_.assign(blocks_.begin(), blocks_.begin() + static_cast<std::ptrdiff_t>(held));
  for (KvPool::Block* block : other->blocks_) pool_->share(block);
  other->length_ = length_;
  return other;
}

}  // namespace qwen3cpu
