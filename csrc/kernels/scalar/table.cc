// The scalar kernel table.
#include "kernels/scalar/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::scalar {
#define QWEN3CPU_ISA_NAME scalar
#include "kernels/table_definition.inc"
}  // namespace qwen3cpu::scalar
