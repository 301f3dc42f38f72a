// The i8mm kernel table.
#include "kernels/i8mm/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::i8mm {
#define QWEN3CPU_ISA_NAME i8mm
#include "kernels/table_definition.inc"
}  // namespace qwen3cpu::i8mm
