// The scalar kernel table.
#include "../../isa.h"
#include "kernels.h"

namespace qwen3cpu::scalar {
#define QWEN3CPU_ISA_NAME scalar
#include "../table_definition.inc"
}  // namespace qwen3cpu::scalar
