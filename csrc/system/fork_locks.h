// Locks of an engine whose process may fork. Only the thread that forks goes on in the child process: what another one
// had locked would stay locked there for ever, with what it guards half changed.
#pragma once

#include <mutex>

namespace qwen3cpu {

// For work of any length. In a child process `lock` throws Error when the thread that held it at the fork is missing.
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

// For a few instructions, none of which locks anything of the engine: a fork waits until it is open, so what it guards
// is whole in the child.
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
