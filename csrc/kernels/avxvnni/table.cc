// The avxvnni kernel table.
#include "kernels/avxvnni/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::avxvnni {
#define QWEN3CPU_ISA_NAME avxvnni
#define QWEN3CPU_LESSER qwen3cpu::avx2
#include "kernels/derived_table.inc"
}  // namespace qwen3cpu::avxvnni
