// Claims pieces of reductions with counts that only grow, so a thread that comes late to a phase finds no piece left.
#include "engine/reductions.h"

namespace qwen3cpu {

void Reductions::begin(const IsaTable& isa, const Team& team, const Inputs& inputs) {
  Job& job = jobs_[static_cast<size_t>(team.rank())];
  job.inputs = inputs;
  job.first = job.end;
  job.end += inputs.runs->reduction_pieces(inputs.readers);
  if (team.rank() < job.end - job.first) compute(isa, job);
}

void Reductions::finish(const IsaTable& isa, const Team& team) {
  const Job& job = jobs_[static_cast<size_t>(team.rank())];
  compute(isa, job);
  team.wait_until([&] { return finished_.load(std::memory_order_acquire) >= job.end; });
}

void Reductions::compute(const IsaTable& isa, const Job& job) {
  int i = claimed_.load(std::memory_order_relaxed);
  while (i < job.end) {
    if (!claimed_.compare_exchange_weak(i, i + 1, std::memory_order_relaxed)) continue;
    const AdapterRuns::Reduction piece = job.inputs.runs->reduction(job.inputs.readers, i - job.first);
    const InputRows x = job.inputs.x;
    reduce(isa, piece, {x.data + piece.first_token * x.stride, x.stride}, job.inputs.u);
    finished_.fetch_add(1, std::memory_order_release);
    i = claimed_.load(std::memory_order_relaxed);
  }
}

}  // namespace qwen3cpu
