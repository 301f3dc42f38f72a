// Threads of the standard library, kept from one call to the next.
#include "system/threads.h"

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "system/fork.h"
#include "system/fork_locks.h"

namespace qwen3cpu {
namespace {

using Part = void (*)(int, int, void*);

// Threads that work for one caller at a time. They never end: the process ends without waiting for them.
class Crew {
 public:
  void run(int threads, Part part, void* context) {
    std::unique_lock<std::mutex> lock(mutex_);
    part_ = part;
    context_ = context;
    size_ = hire(threads);
    working_ = size_ - 1;
    ++calls_;
    lock.unlock();
    called_.notify_all();
    part(0, size_, context);
    lock.lock();
    done_.wait(lock, [&] { return working_ == 0; });
  }

 private:
  // Makes the missing threads. Returns their number including the caller's, at most `threads`.
  int hire(int threads) {
    try {
      for (; hired_ < threads; ++hired_) std::thread(&Crew::work, this, hired_, calls_).detach();
    } catch (const std::system_error&) {
      return hired_;
    }
    return threads;
  }
  void work(int rank, int64_t seen) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      called_.wait(lock, [&] { return calls_ != seen; });
      seen = calls_;
      if (rank >= size_) continue;
      const Part part = part_;
      lock.unlock();
      part(rank, size_, context_);
      lock.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable called_, done_;
  int64_t calls_ = 0;
  int hired_ = 1;  // threads, including the caller's
  int size_ = 0;   // threads of this call
  int working_ = 0;
  Part part_ = nullptr;
  void* context_ = nullptr;
};

// Crews without a caller.
struct Idle {
  BriefLock lock;
  std::vector<Crew*> crews;

  static Idle& all() {
    static Idle& idle = *new Idle;  // never destroyed, like the crews
    return idle;
  }
};

// A child process forgets all crews, because their threads exist only in the parent.
[[maybe_unused]] const int fork_handler = at_fork(nullptr, nullptr, [] { Idle::all().crews.clear(); });

Crew* take() {
  Idle& idle = Idle::all();
  const std::lock_guard<BriefLock> guard(idle.lock);
  if (idle.crews.empty()) return new Crew;
  Crew* crew = idle.crews.back();
  idle.crews.pop_back();
  return crew;
}

void give_back(Crew* crew) {
  Idle& idle = Idle::all();
  const std::lock_guard<BriefLock> guard(idle.lock);
  idle.crews.push_back(crew);
}

}  // namespace

void run_in_threads(int threads, Part part, void* context) {
  if (threads == 1) return part(0, 1, context);
  Crew* crew = take();
  crew->run(threads, part, context);
  give_back(crew);
}

}  // namespace qwen3cpu
