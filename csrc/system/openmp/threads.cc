// The only file that uses OpenMP.
#include "system/threads.h"

#include <omp.h>

#include <system_error>
#include <thread>

#include "system/fork.h"

namespace qwen3cpu {
namespace {

using Part = void (*)(int, int, void*);

// True in the only thread of a child process made by fork(). GNU's OpenMP runtime still counts on the threads of its
// team there, and would wait for them for ever.
thread_local bool survived_fork = false;
[[maybe_unused]] const int fork_handler = at_fork(nullptr, nullptr, [] { survived_fork = true; });

void run_in_team(int threads, Part part, void* context) {
#pragma omp parallel num_threads(threads)
  part(omp_get_thread_num(), omp_get_num_threads(), context);
}

// Runs the team from a new thread, for which the runtime makes a new team. False when the system gives no thread.
bool run_from_new_thread(int threads, Part part, void* context) {
  try {
    std::thread(run_in_team, threads, part, context).join();
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

}  // namespace

void run_in_threads(int threads, Part part, void* context) {
  if (threads > 1 && !survived_fork) return run_in_team(threads, part, context);
  if (threads > 1 && run_from_new_thread(threads, part, context)) return;
  part(0, 1, context);
}

}  // namespace qwen3cpu
