// The i8mm kernel table.
#include "../../isa.h"
#include "kernels.h"

namespace qwen3cpu::i8mm {
#define QWEN3CPU_ISA_NAME i8mm
#define QWEN3CPU_LESSER qwen3cpu::neon
#include "../derived_table.inc"
}  // namespace qwen3cpu::i8mm
