// The NEON kernel table.
#include "../../isa.h"
#include "kernels.h"

namespace qwen3cpu::neon {
#define QWEN3CPU_ISA_NAME neon
#include "../table_definition.inc"
}  // namespace qwen3cpu::neon
