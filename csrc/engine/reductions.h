// What adapters reduce an input to, u = a x, computed beside the products that add b u.
//
// A product needs u when its own sums are done, so no thread waits for u before. One thread computes it, for a prompt
// all of them, while the others read weights. A reduction of one token is a chain of additions as long as the input:
// a phase of its own would make both threads of a small machine wait 8 microseconds for 6,144 columns.
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
  // Every thread of the team calls it at the same place of its sequence of phases, before a phase in which every piece
  // calls `finish`.
  void begin(const IsaTable& isa, const Team& team, const Inputs& inputs);
  // Returns when all of u is there.
  void finish(const IsaTable& isa, const Team& team);

 private:
  struct Job {
    Inputs inputs = {nullptr, {}, {nullptr, 0}, {nullptr, 0}};
    int first = 0, end = 0;  // pieces, counted through all jobs
  };
  void compute(const IsaTable& isa, const Job& job);

  std::vector<Job> jobs_;         // each thread's; the same in all that are in the same phase
  std::atomic<int> claimed_{0};   // pieces that threads have taken
  std::atomic<int> finished_{0};  // pieces that are done
};

}  // namespace qwen3cpu
