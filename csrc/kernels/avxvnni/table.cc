// The avxvnni kernel table.
#include "kernels/avxvnni/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::avxvnni {
#define QWEN3CPU_ISA_NAME avxvnni
#include "kernels/table_definition.inc"
}  // namespace qwen3cpu::avxvnni
