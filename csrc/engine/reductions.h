// The reduced inputs of adapters, u = a x, computed at the same time as the products that add b u.
//
// A product needs u only when its own sums are done, and no thread waits for u earlier. One thread computes u (for a
// prompt, all threads) while the others read weights. The reduction of one token is a chain of additions as long as the
// input. In a phase of its own, both threads of a small machine would wait 8 microseconds for 6,144 columns.
#pragma once

#include <atomic>
#include <vector>

#include "engine/adapter_runs.h"
#include "system/parallel.h"

namespace qwen3cpu {

class Reductions {
 public:
  explicit Reductions(int threads) : jobs_(static_cast<size_t>(threads)) {}

  struct Inputs {
    const AdapterRuns* runs;
    Readers readers;  // of x
    InputRows x;
    TokenRows u;
  };
  // Every thread of the team calls this at the same place of its sequence of phases, before a phase in which every
  // piece calls `finish`.
  void begin(const IsaTable& isa, const Team& team, const Inputs& inputs);
  // Returns when all of u is computed.
  void finish(const IsaTable& isa, const Team& team);

 private:
  struct Job {
    Inputs inputs = {nullptr, {}, {nullptr, 0}, {nullptr, 0}};
    int first = 0, end = 0;  // pieces, counted through all jobs
  };
  void compute(const IsaTable& isa, const Job& job);

  std::vector<Job> jobs_;         // one for each thread; equal for threads in the same phase
  std::atomic<int> claimed_{0};   // pieces that threads have taken
  std::atomic<int> finished_{0};  // pieces that are done
};

}  // namespace qwen3cpu
