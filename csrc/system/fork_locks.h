// Locks of an engine whose process may fork. Only the thread that forks exists in the child process. A lock that
// another thread held would stay locked there for ever, and the data that it guards may be half changed.
#pragma once

#include <mutex>

namespace qwen3cpu {

// A lock for work of any length. In a child process `lock` throws Error if another thread held it at the fork.
class WatchedLock {
 public:
  WatchedLock();
  ~WatchedLock();
  WatchedLock(const WatchedLock&) = delete;
  WatchedLock& operator=(const WatchedLock&) = delete;

  void lock();
  void unlock() { mutex_.unlock(); }
  bool lost() const { return lost_; }  // whether `lock` throws

 private:
  friend struct ForkLocks;
  std::mutex mutex_;
  bool lost_ = false;
};

// A lock for a few instructions, none of which takes another lock of the engine. A fork waits until it is free, so the
// data that it guards is consistent in the child.
class BriefLock {
 public:
  BriefLock();
  ~BriefLock();
  BriefLock(const BriefLock&) = delete;
  BriefLock& operator=(const BriefLock&) = delete;

  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  friend struct ForkLocks;
  std::mutex mutex_;
};

}  // namespace qwen3cpu
