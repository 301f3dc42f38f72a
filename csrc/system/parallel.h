// The only threads of the engine: one team per forward pass, which runs phases of work in fixed pieces.
//
// Threads take pieces while they run, so a slow core does not delay the others. The pieces' results never depend on the
// number of threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace qwen3cpu {

class Team {
 public:
  int size() const { return size_; }
  int rank() const { return rank_; }

  // Calls piece(i) for every i in [0, n), each in one of the threads, and returns when all are done.
  //
  // Every thread of the team must make the same sequence of calls with the same n. A thread that comes late finds the
  // phase done and goes on, so others do not wait for a thread that the system has not scheduled. It may come while
  // later phases run, even those of the next layer. So results of phases may be read only inside of pieces.
  //
  // A thread walks a stretch of its own, pieces in order, and then helps the others from the ends of theirs. So weights
  // are read in long runs: 37 GB/s by two threads, but 26 GB/s when they took turns on 64 KiB each.
  template <class Piece>
  void for_each(int n, Piece&& piece) {
    if (size_ == 1) {
      for (int i = 0; i < n; ++i) piece(i);
      return;
    }
    if (n == 0) return;
    for (int helped = 0; helped < size_; ++helped) {
      for (int i = claim(n, helped); i >= 0; i = claim(n, helped)) {
        piece(i);
        finish(n);
      }
    }
    wait_until([&] { return shared_.phase.load(std::memory_order_acquire) != phase_; });
    ++phase_;
  }

  // The same for a number of pieces, 1 or more, that an earlier phase has counted. A thread that comes late may read
  // the count of a later phase; it does no piece then.
  template <class Piece>
  void for_each(const std::atomic<int>& n, Piece&& piece) {
    for_each(n.load(std::memory_order_relaxed), piece);
  }

  // Returns when ready() is true, which another thread of the team causes.
  template <class Ready>
  void wait_until(Ready&& ready) const {
    for (int spins = 0; !ready(); ++spins) rest(spins);
  }

  struct alignas(64) Stretch {
    std::atomic<uint64_t> taken{0};  // phase << 48 | pieces taken from its end << 24 | pieces taken from its start
  };
  struct Shared {
    explicit Shared(int threads) : stretches(static_cast<std::size_t>(threads)) {}
    std::vector<Stretch> stretches;         // one a thread
    alignas(64) std::atomic<int> done{0};   // pieces of the phase that are finished
    alignas(64) std::atomic<int> phase{0};  // phases that are over
  };
  Team(Shared& shared, int rank, int size) : shared_(shared), rank_(rank), size_(size) {}

 private:
  // Claims a piece of this thread's phase, from its own stretch (helped = 0) or from that of the thread `helped` ranks
  // after it. Returns -1 when all are taken or the phase is over.
  int claim(int n, int helped) {
    constexpr uint64_t kCount = (1u << 24) - 1;
    const int owner = (rank_ + helped) % size_;
    const auto first = static_cast<int>(int64_t{n} * owner / size_);
    const int pieces = static_cast<int>(int64_t{n} * (owner + 1) / size_) - first;
    std::atomic<uint64_t>& stretch = shared_.stretches[static_cast<std::size_t>(owner)].taken;
    uint64_t taken = stretch.load(std::memory_order_acquire);
    while (taken >> 48 == static_cast<uint64_t>(phase_)) {
      const auto front = static_cast<int>(taken & kCount), back = static_cast<int>(taken >> 24 & kCount);
      if (front + back == pieces) break;
      const uint64_t one_more = taken + (helped == 0 ? 1 : kCount + 1);
      if (stretch.compare_exchange_weak(taken, one_more, std::memory_order_acq_rel))
        return helped == 0 ? first + front : first + pieces - 1 - back;
    }
    return -1;
  }
  // Counts a finished piece. The last one starts the next phase.
  void finish(int n) {
    if (shared_.done.fetch_add(1, std::memory_order_acq_rel) + 1 < n) return;
    shared_.done.store(0, std::memory_order_relaxed);
    for (Stretch& stretch : shared_.stretches)
      stretch.taken.store(static_cast<uint64_t>(phase_ + 1) << 48, std::memory_order_relaxed);
    shared_.phase.store(phase_ + 1, std::memory_order_release);
  }
  // Waits for a moment. Yields the core after kSpins calls.
  static void rest(int spins);

  Shared& shared_;
  int phase_ = 0;  // phases that this thread has passed; a pass of 64 layers has about 650, below the 2^16 of a stretch
  int rank_;
  int size_;
};

namespace detail {
void run_team(int threads, void (*body)(Team&, void*), void* context);
}

// Runs body(team) in `threads` threads, or fewer when the system gives fewer. Denormals are flushed to zero, as all
// kernels expect. Afterwards the caller's floating-point mode is restored. body must not throw.
template <class Body>
void run_team(int threads, Body&& body) {
  auto call = [](Team& team, void* context) { (*static_cast<Body*>(context))(team); };
  detail::run_team(threads, call, &body);
}

}  // namespace qwen3cpu
