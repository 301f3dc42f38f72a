// The readable oracle of every kernel: what each output is, operation by operation.
#pragma once

#include "../table.h"

namespace qwen3cpu::scalar {
#include "../declarations.inc"
}  // namespace qwen3cpu::scalar
