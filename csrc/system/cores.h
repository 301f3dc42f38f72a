// The number of cores.
#pragma once

namespace qwen3cpu {

// Physical cores among the CPUs that this process may run on, at least 1.
int physical_cores();

}  // namespace qwen3cpu
