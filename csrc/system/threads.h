// Threads to run something in at once: of OpenMP (openmp/threads.cc), or the standard library's
// (std_threads/threads.cc) where there is none.
#pragma once

namespace qwen3cpu {

// Calls part(rank, size, context) for every rank below `size`, each in a thread of its own, one of which is the
// caller's. Size is `threads`, or less when the system gives fewer. part must not throw.
void run_in_threads(int threads, void (*part)(int rank, int size, void* context), void* context);

}  // namespace qwen3cpu
