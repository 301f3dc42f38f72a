// Kernels for 64-bit ARM with dot products of bytes (SDOT): products of the quantised formats. Everything else in this
// instruction set's table is NEON's. Each gives the bits of its scalar twin.
#pragma once

#include "kernels/neon/kernels.h"

namespace qwen3cpu::dotprod {

namespace q8 {
MatmulFn matmul;
}
namespace q4 {
MatmulFn matmul;
}
namespace q4x2 {
MatmulFn matmul;
}
namespace q4s {
MatmulFn matmul;
}
#include "kernels/q4a_kernels.inc"
namespace probes {
int64_t int8(int64_t rounds);
}
const IsaTable& table();

#define QWEN3CPU_LESSER neon
#include "kernels/fall_back.inc"

}  // namespace qwen3cpu::dotprod
