// Kernels for CPUs with AVX-512 and its VNNI dot products: products of all formats, attention of many rows, rounding,
// and some operations on vectors. Everything else in this instruction set's table is AVX2's. Each gives the bits of its
// scalar twin.
#pragma once

#include "kernels/avx2/kernels.h"

namespace qwen3cpu::avx512vnni {

namespace f32 {
MatmulFn matmul;
}
namespace bf16 {
MatmulFn matmul;
}
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
namespace kv_f32 {
AttendFn attend;
}
namespace kv_f16 {
AttendFn attend;
}
namespace kv_q8 {
AttendFn attend;
}
namespace ops {
SiluMulFn silu_mul;
AddFn add;
QuantizeFn quantize_i8g32, quantize_i8g256;
RoundQ4Fn round_q4;
}  // namespace ops
namespace probes {
int64_t int8(int64_t rounds);
}
const IsaTable& table();

#define QWEN3CPU_LESSER avx2
#include "kernels/fall_back.inc"

}  // namespace qwen3cpu::avx512vnni
