// The AVX2 kernel table.
#include "kernels/avx2/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::avx2 {
#define QWEN3CPU_ISA_NAME avx2
#include "kernels/table_definition.inc"
}  // namespace qwen3cpu::avx2
