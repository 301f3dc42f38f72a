// The dotprod kernel table.
#include "kernels/dotprod/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::dotprod {
#define QWEN3CPU_ISA_NAME dotprod
#define QWEN3CPU_LESSER qwen3cpu::neon
#include "kernels/derived_table.inc"
}  // namespace qwen3cpu::dotprod
