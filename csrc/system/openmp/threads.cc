// OpenMP lives here and nowhere else.
#include "system/threads.h"

#include <omp.h>

#include <system_error>
#include <thread>

#include "system/fork.h"

namespace qwen3cpu {
namespace {

using Part = void (*)(int, int, void*);

// True in the one thread that a child process made by fork() starts with. GNU's OpenMP runtime believes there that the
// threads of its team still exist, and would wait for them for ever.
thread_local bool survived_fork = false;
[[maybe_unused]] const int fork_handler = at_fork(nullptr, nullptr, [] { survived_fork = true; });

void run_in_team(int threads, Part part, void* context) {
#pragma omp parallel num_threads(threads)
  part(omp_get_thread_num(), omp_get_num_threads(), context);
}

// Runs the team from a thread made for it, with which the runtime starts afresh; false when there is none to be had.
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
