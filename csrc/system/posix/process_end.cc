// A std::terminate handler for the last moments of the process.
#include "system/process_end.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>

namespace qwen3cpu {
namespace {

pthread_t main_thread;
std::terminate_handler other_handler = nullptr;

void hold_or_terminate() {
  // A thread that pthread_exit unwinds has no C++ exception. All other cases are errors and end the process as usual.
  while (std::current_exception() == nullptr && pthread_equal(pthread_self(), main_thread) == 0) pause();
  if (other_handler != nullptr) other_handler();
  std::abort();
}

}  // namespace

void hold_threads_that_end() {
  if (other_handler != nullptr) return;
  main_thread = pthread_self();
  other_handler = std::set_terminate(hold_or_terminate);
}

}  // namespace qwen3cpu
