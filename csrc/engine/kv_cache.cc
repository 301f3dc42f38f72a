// The block pool and the sequences on it.
#include "engine/kv_cache.h"

#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "system/error.h"
#include "system/memory.h"

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
  const std::lock_guard<BriefLock> guard(lock_);
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

void KvPool::share(Block* block) {
  const std::lock_guard<BriefLock> guard(lock_);
  ++block->references;
}

bool KvPool::shared(const Block* block) const {
  const std::lock_guard<BriefLock> guard(lock_);
  return block->references > 1;
}

int KvPool::blocks_in_use() const {
  const std::lock_guard<BriefLock> guard(lock_);
  return in_use_;
}

void KvPool::release(Block* block) {
  const std::lock_guard<BriefLock> guard(lock_);
  if (--block->references > 0) return;
  --in_use_;
  free_.push_back(block);
}

KvPool::Block* KvPool::copy(const Block* block) {
  Block* fresh = acquire();
  std::memcpy(fresh->data, block->data, static_cast<size_t>(block_bytes_));
  return fresh;
}

Sequence::Sequence(std::shared_ptr<KvPool> pool, const std::vector<std::shared_ptr<HeldBlock>>& blocks)
    : pool_(std::move(pool)) {
  for (size_t i = 0; i < blocks.size(); ++i)
    if (blocks[i] == nullptr || &blocks[i]->pool() != pool_.get())
      throw Error("block " + std::to_string(i) + ": expected a block of this model, found another's");
  blocks_.reserve(blocks.size());
  for (const auto& held : blocks) {
    pool_->share(held->block());
    blocks_.push_back(held->block());
  }
  length_ = static_cast<int>(blocks.size()) * kKvBlock;
}

void Sequence::prepare(int n) {
  const int length = length_;
  const bool partial = length % kKvBlock != 0;
  if (partial && pool_->shared(block_of(length))) {
    KvPool::Block*& last = blocks_[static_cast<size_t>(length / kKvBlock)];
    KvPool::Block* own = pool_->copy(last);
    pool_->release(last);
    last = own;
  }
  const auto needed = static_cast<size_t>(ceil_div(length + n, kKvBlock));
  blocks_.reserve(needed);
  while (blocks_.size() < needed) blocks_.push_back(pool_->acquire());
}

void Sequence::drop(int length) {
  const auto kept = static_cast<size_t>(ceil_div(length, kKvBlock));
  while (blocks_.size() > kept) {
    pool_->release(blocks_.back());
    blocks_.pop_back();
  }
  length_ = length;
}

void Sequence::truncate(int length) {
  const std::lock_guard<WatchedLock> guard(lock_);
  if (length < 0 || length > length_)
    throw Error("truncate: expected 0 to " + std::to_string(length_) + " positions, found " + std::to_string(length));
  drop(length);
}

std::shared_ptr<Sequence> Sequence::fork() {
  const std::lock_guard<WatchedLock> guard(lock_);
  auto other = std::make_shared<Sequence>(pool_);
  other->blocks_ = blocks_;
  for (KvPool::Block* block : other->blocks_) pool_->share(block);
  other->length_ = length_.load();
  return other;
}

std::shared_ptr<HeldBlock> Sequence::hold(int index) {
  const std::lock_guard<WatchedLock> guard(lock_);
  if (index < 0 || index >= length_ / kKvBlock)
    throw Error("hold: expected one of " + std::to_string(length_ / kKvBlock) + " full blocks, found " +
                std::to_string(index));
  return std::make_shared<HeldBlock>(pool_, blocks_[static_cast<size_t>(index)]);
}

void Sequence::read(int index, uint8_t* out) {
  const std::lock_guard<WatchedLock> guard(lock_);
  if (index < 0 || index >= ceil_div(length_, kKvBlock))
    throw Error("read: expected one of " + std::to_string(ceil_div(length_, kKvBlock)) + " blocks, found " +
                std::to_string(index));
  std::memcpy(out, blocks_[static_cast<size_t>(index)]->data, static_cast<size_t>(pool_->block_bytes()));
}

void Sequence::append(const uint8_t* data, int positions) {
  const std::lock_guard<WatchedLock> guard(lock_);
  if (length_ % kKvBlock != 0) throw Error("append: expected whole blocks before, found " + std::to_string(length_));
  if (positions < 1 || positions > kKvBlock)
    throw Error("append: expected 1 to " + std::to_string(kKvBlock) + " positions, found " + std::to_string(positions));
  blocks_.reserve(blocks_.size() + 1);
  blocks_.push_back(pool_->acquire());
  std::memcpy(blocks_.back()->data, data, static_cast<size_t>(pool_->block_bytes()));
  length_ += positions;
}

std::vector<KvPool::Block*> Sequence::block_list() {
  const std::lock_guard<WatchedLock> guard(lock_);
  return blocks_;
}

}  // namespace qwen3cpu
