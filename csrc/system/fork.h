// Functions that run when the process forks. A system without forks never calls them.
#pragma once

namespace qwen3cpu {

// Registers functions: `before` runs before the fork, `after` in the parent and `in_child` in the child after it. Each
// may be null. Returns 0, for the initialiser of a variable.
int at_fork(void (*before)(), void (*after)(), void (*in_child)());

}  // namespace qwen3cpu
