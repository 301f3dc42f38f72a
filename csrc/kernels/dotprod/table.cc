// The dotprod kernel table.
#include "../../isa.h"
#include "kernels.h"

namespace qwen3cpu::dotprod {
#define QWEN3CPU_ISA_NAME dotprod
#define QWEN3CPU_LESSER qwen3cpu::neon
#include "../derived_table.inc"
}  // namespace qwen3cpu::dotprod
