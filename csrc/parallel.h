// The only threads in the project: one team per forward pass, phases of work shared out in fixed-size pieces.
//
// Which thread computes a piece is decided while running (a slow core does not hold the others up); what a piece is
// never depends on the number of threads, so results do not either.
#pragma once

#include <atomic>
#include <cstdint>

namespace qwen3cpu {

class Team {
 public:
  int size() const { return size_; }
  int rank() const { return rank_; }

  // Calls piece(i) for every i in [0, n), each in one of the threads, and returns when all are done. Every thread of
  // the team must make the same sequence of calls; one that comes late finds the phase done and passes on, so a thread
  // that the system has not scheduled holds nobody up.
  template <class Piece>
  void for_each(int n, Piece&& piece) {
    if (size_ == 1) {
      for (int i = 0; i < n; ++i) piece(i);
      return;
    }
    if (n == 0) return;
    for (int i = claim(n); i >= 0; i = claim(n)) {
      piece(i);
      finish(n);
    }
    wait();
    ++phase_;
  }

  struct Shared {
    alignas(64) std::atomic<uint64_t> ticket{0};  // phase << 32 | the piece to be claimed next
    alignas(64) std::atomic<int> done{0};         // pieces of the phase that are finished
  };
  Team(Shared& shared, int rank, int size) : shared_(shared), rank_(rank), size_(size) {}

 private:
  // A piece of this thread's phase, -1 when all are taken or the phase is over.
  int claim(int n) {
    uint64_t ticket = shared_.ticket.load(std::memory_order_acquire);
    while (ticket >> 32 == phase_ && static_cast<int>(ticket & 0xffffffffu) < n)
      if (shared_.ticket.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel))
        return static_cast<int>(ticket & 0xffffffffu);
    return -1;
  }
  // Counts a finished piece; the last one opens the next phase.
  void finish(int n) {
    if (shared_.done.fetch_add(1, std::memory_order_acq_rel) + 1 < n) return;
    shared_.done.store(0, std::memory_order_relaxed);
    shared_.ticket.store(uint64_t{phase_ + 1} << 32, std::memory_order_release);
  }
  void wait() const;

  Shared& shared_;
  uint32_t phase_ = 0;  // phases that this thread has passed
  int rank_;
  int size_;
};

namespace detail {
void run_team(int threads, void (*body)(Team&, void*), void* context);
}

// Runs body(team) in `threads` threads (fewer when the OpenMP runtime gives fewer) with denormals flushed to zero, as
// all kernels expect; the caller's floating-point mode is restored. body must not throw.
template <class Body>
void run_team(int threads, Body&& body) {
  auto call = [](Team& team, void* context) { (*static_cast<Body*>(context))(team); };
  detail::run_team(threads, call, &body);
}

// Physical cores among the CPUs that this process may run on, at least 1.
int physical_cores();

}  // namespace qwen3cpu
