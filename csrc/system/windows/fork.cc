// Windows has no forks.
#include "system/fork.h"

namespace qwen3cpu {

int at_fork(void (*)(), void (*)(), void (*)()) { return 0; }

}  // namespace qwen3cpu
