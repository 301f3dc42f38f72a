// Runs a function in several threads at once: those of OpenMP (openmp/threads.cc), or of the standard library where
// there is no OpenMP (std_threads/threads.cc).
#pragma once

namespace qwen3cpu {

// Calls part(rank, size, context) for every rank below `size`, each in a thread of its own, one of which is the
// caller's. Size is `threads`, or less when the system gives fewer. part must not throw.
void run_in_threads(int threads, void (*part)(int rank, int size, void* context), void* context);

}  // namespace qwen3cpu
