// The amx kernel table.
#include "kernels/amx/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::amx {
#define QWEN3CPU_ISA_NAME amx
#include "kernels/table_definition.inc"
}  // namespace qwen3cpu::amx
