// The dotprod kernel table.
#include "kernels/dotprod/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::dotprod {
#define QWEN3CPU_ISA_NAME dotprod
#include "kernels/table_definition.inc"
}  // namespace qwen3cpu::dotprod
