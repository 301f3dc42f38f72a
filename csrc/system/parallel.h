// The only threads in the project: one team per forward pass, phases of work shared out in fixed-size pieces.
//
// Which thread computes a piece is decided while running (a slow core does not hold the others up); what a piece is
// never depends on the number of threads, so results do not either.
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

  // Calls piece(i) for every i in [0, n), each in one of the threads, and returns when all are done. Every thread of
  // the team must make the same sequence of calls with the same n; one that comes late finds the phase done and passes
  // on, so a thread that the system has not scheduled holds nobody up. It may come when later phases, even those of the
  // next layer, are at work: what phases write may be looked at inside of pieces only.
  //
  // A thread walks a stretch of its own, pieces in order, and then helps the others from the ends of theirs: weights
  // are read in long runs (two threads that took turns on 64 KiB each read 26 GB/s where 37 were to be had).
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

  // The same where an earlier phase has counted the pieces, 1 or more. A thread that comes late may read what a later
  // phase has counted, and passes on.
  template <class Piece>
  void for_each(const std::atomic<int>& n, Piece&& piece) {
    for_each(n.load(std::memory_order_relaxed), piece);
  }

  // Returns when ready() is true, which another thread of the team sees to.
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
  // A piece of this thread's phase from its own stretch (helped = 0) or that of the thread `helped` ranks on; -1 when
  // all are taken or the phase is over.
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
  // Counts a finished piece; the last one opens the next phase.
  void finish(int n) {
    if (shared_.done.fetch_add(1, std::memory_order_acq_rel) + 1 < n) return;
    shared_.done.store(0, std::memory_order_relaxed);
    for (Stretch& stretch : shared_.stretches)
      stretch.taken.store(static_cast<uint64_t>(phase_ + 1) << 48, std::memory_order_relaxed);
    shared_.phase.store(phase_ + 1, std::memory_order_release);
  }
  // A moment's wait; gives the core to others after so many.
  static void rest(int spins);

  Shared& shared_;
  int phase_ = 0;  // phases that this thread has passed; a pass of 64 layers has about 650, below the 2^16 of a stretch
  int rank_;
  int size_;
};

namespace detail {
void run_team(int threads, void (*body)(Team&, void*), void* context);
}

// Runs body(team) in `threads` threads (fewer when the system gives fewer) with denormals flushed to zero, as
// all kernels expect; the caller's floating-point mode is restored. body must not throw.
template <class Body>
void run_team(int threads, Body&& body) {
  auto call = [](Team& team, void* context) { (*static_cast<Body*>(context))(team); };
  detail::run_team(threads, call, &body);
}

}  // namespace qwen3cpu
