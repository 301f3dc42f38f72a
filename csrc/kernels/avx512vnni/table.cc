// The avx512vnni kernel table.
#include "kernels/avx512vnni/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::avx512vnni {
#define QWEN3CPU_ISA_NAME avx512vnni
#include "kernels/table_definition.inc"
}  // namespace qwen3cpu::avx512vnni
