// The NEON kernel table.
#include "kernels/neon/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::neon {
#define QWEN3CPU_ISA_NAME neon
#include "kernels/table_definition.inc"
}  // namespace qwen3cpu::neon
