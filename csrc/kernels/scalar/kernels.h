// The readable oracle of every kernel: what each output is, operation by operation.
#pragma once

#include "kernels/table.h"

namespace qwen3cpu::scalar {
#include "kernels/declarations.inc"
}  // namespace qwen3cpu::scalar
