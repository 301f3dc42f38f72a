// The i8mm kernel table.
#include "kernels/i8mm/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::i8mm {
#define QWEN3CPU_ISA_NAME i8mm
#define QWEN3CPU_LESSER qwen3cpu::neon
#include "kernels/derived_table.inc"
}  // namespace qwen3cpu::i8mm
