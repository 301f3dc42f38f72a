// All locks of the engine, and their handling at a fork.
#include "system/fork_locks.h"

#include <unordered_set>

#include "system/error.h"
#include "system/fork.h"

namespace qwen3cpu {

struct ForkLocks {
  std::mutex lock;  // guards the two sets
  std::unordered_set<WatchedLock*> watched;
  std::unordered_set<BriefLock*> brief;

  static ForkLocks& all() {
    static ForkLocks& locks = *new ForkLocks;  // never destroyed: a model may outlive this file's statics
    return locks;
  }

  void before() {
    lock.lock();
    for (BriefLock* each : brief) each->mutex_.lock();
  }
  void after() {
    for (BriefLock* each : brief) each->mutex_.unlock();
    lock.unlock();
  }
  void after_in_child() {
    for (WatchedLock* each : watched) {
      if (each->mutex_.try_lock()) {
        each->mutex_.unlock();
      } else {
        each->lost_ = true;
      }
    }
    after();
  }

  template <class Lock>
  void add(std::unordered_set<Lock*>& locks, Lock* each) {
    const std::lock_guard<std::mutex> guard(lock);
    locks.insert(each);
  }
  template <class Lock>
  void remove(std::unordered_set<Lock*>& locks, Lock* each) {
    const std::lock_guard<std::mutex> guard(lock);
    locks.erase(each);
  }
};

namespace {
[[maybe_unused]] const int fork_handlers = at_fork([] { ForkLocks::all().before(); }, [] { ForkLocks::all().after(); },
                                                   [] { ForkLocks::all().after_in_child(); });
}  // namespace

WatchedLock::WatchedLock() { ForkLocks::all().add(ForkLocks::all().watched, this); }
WatchedLock::~WatchedLock() { ForkLocks::all().remove(ForkLocks::all().watched, this); }

void WatchedLock::lock() {
  if (lost_)
    throw Error(
        "expected a process that forked while no other thread used the model, found one that forked during a call: "
        "load the model in this process again, or start it by multiprocessing's \"spawn\"");
  mutex_.lock();
}

BriefLock::BriefLock() { ForkLocks::all().add(ForkLocks::all().brief, this); }
BriefLock::~BriefLock() { ForkLocks::all().remove(ForkLocks::all().brief, this); }

}  // namespace qwen3cpu
