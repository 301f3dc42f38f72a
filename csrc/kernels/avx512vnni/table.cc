// The avx512vnni kernel table.
#include "kernels/avx512vnni/kernels.h"
#include "system/isa.h"

namespace qwen3cpu::avx512vnni {
#define QWEN3CPU_ISA_NAME avx512vnni
#define QWEN3CPU_LESSER qwen3cpu::avx2
#define QWEN3CPU_WIDE qwen3cpu::avx512vnni
#include "kernels/derived_table.inc"
}  // namespace qwen3cpu::avx512vnni
