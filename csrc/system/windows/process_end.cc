// Windows ends a thread without unwinding it, so there is nothing to hold.
#include "system/process_end.h"

namespace qwen3cpu {

void hold_threads_that_end() {}

}  // namespace qwen3cpu
