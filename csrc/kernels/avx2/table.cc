// The AVX2 kernel table.
#include "../../isa.h"
#include "kernels.h"

namespace qwen3cpu::avx2 {
#define QWEN3CPU_ISA_NAME avx2
#include "../table_definition.inc"
}  // namespace qwen3cpu::avx2
