// The avxvnni kernel table.
#include "../../isa.h"
#include "kernels.h"

namespace qwen3cpu::avxvnni {
#define QWEN3CPU_ISA_NAME avxvnni
#define QWEN3CPU_LESSER qwen3cpu::avx2
#include "../derived_table.inc"
}  // namespace qwen3cpu::avxvnni
