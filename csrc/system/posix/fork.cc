// Forks of POSIX.
#include "system/fork.h"

#include <pthread.h>

namespace qwen3cpu {

int at_fork(void (*before)(), void (*after)(), void (*in_child)()) { return pthread_atfork(before, after, in_child); }

}  // namespace qwen3cpu
