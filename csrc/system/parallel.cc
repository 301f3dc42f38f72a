// OpenMP and the barrier live here and nowhere else.
#include "system/parallel.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qwen3cpu {
namespace {

// Sets flush-to-zero and denormals-are-zero for its lifetime: products of tiny scales would otherwise take the slow
// microcoded path (14 -> 40 cycles per inner block, measured on Zen 3).
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (uint64_t{1} << 24)));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  uint64_t saved_;
#endif
};

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Long enough to cover the uneven ends of a phase (a few microseconds), short enough that on an oversubscribed machine
// a waiting thread soon gives its core to the one it waits for.
constexpr int kSpins = 512;

// True in the one thread that a child process made by fork() starts with. GNU's OpenMP runtime believes there that the
// threads of its team still exist, and would wait for them for ever.
thread_local bool survived_fork = false;
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, [] { survived_fork = true; });

void run_in_team(Team::Shared& shared, int threads, void (*body)(Team&, void*), void* context) {
#pragma omp parallel num_threads(threads)
  {
    FlushDenormals flush;
    Team team(shared, omp_get_thread_num(), omp_get_num_threads());
    body(team, context);
  }
}

// Runs body in a team of a thread made for it, with which the runtime starts afresh; false when there is none to be
// had.
bool run_in_new_thread(Team::Shared& shared, int threads, void (*body)(Team&, void*), void* context) {
  try {
    std::thread(run_in_team, std::ref(shared), threads, body, context).join();
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

}  // namespace

void Team::rest(int spins) {
  if (spins < kSpins) {
    pause_briefly();
  } else {
    sched_yield();
  }
}

void detail::run_team(int threads, void (*body)(Team&, void*), void* context) {
  if (threads > 1) {
    Team::Shared shared(threads);
    if (!survived_fork) return run_in_team(shared, threads, body, context);
    if (run_in_new_thread(shared, threads, body, context)) return;
  }
  Team::Shared shared(1);
  FlushDenormals flush;
  Team team(shared, 0, 1);
  body(team, context);
}

int physical_cores() {
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    std::set<std::pair<int, int>> cores;  // (package, core)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      int package = 0, core = cpu;  // without topology every CPU counts as a core
      std::ifstream(topology + "physical_package_id") >> package;
      int found = 0;
      if (std::ifstream(topology + "core_id") >> found) core = found;
      cores.emplace(package, core);
    }
    if (!cores.empty()) return static_cast<int>(cores.size());
  }
#endif
  const unsigned cpus = std::thread::hardware_concurrency();
  return cpus > 0 ? static_cast<int>(cpus) : 1;
}

}  // namespace qwen3cpu
