// The only threads in the project: one team per forward pass, phases of work shared out in fixed-size pieces.
//
// Which thread computes a piece is decided while running (a slow core does not hold the others up); what a piece is
// never depends on the number of threads, so results do not either.
#pragma once

#include <atomic>

namespace qwen3cpu {

class Team {
 public:
  int size() const { return size_; }
  int rank() const { return rank_; }

  // Calls piece(i) for every i in [0, n), each in one of the threads, and returns when all are done. Every thread of
  // the team must make the same sequence of calls.
  template <class Piece>
  void for_each(int n, Piece&& piece) {
    if (size_ == 1) {
      for (int i = 0; i < n; ++i) piece(i);
      return;
    }
    for (int i = claim(); i < n; i = claim()) piece(i);
    barrier();
  }

  struct Shared {
    alignas(64) std::atomic<int> next{0};        // the piece to be claimed next
    alignas(64) std::atomic<int> arrived{0};     // threads waiting at the barrier
    alignas(64) std::atomic<unsigned> phase{0};  // counts completed barriers
  };
  Team(Shared& shared, int rank, int size) : shared_(shared), rank_(rank), size_(size) {}

 private:
  int claim() { return shared_.next.fetch_add(1, std::memory_order_relaxed); }
  void barrier();

  Shared& shared_;
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
