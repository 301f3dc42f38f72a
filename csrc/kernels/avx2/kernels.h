// Kernels for CPUs with AVX2, FMA and F16C. Kernels that are not declared here are the scalar ones. Each gives the bits
// of its scalar twin; kernels/scalar defines what it computes.
#pragma once

#include "kernels/scalar/kernels.h"

namespace qwen3cpu::avx2 {

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
StoreKvFn store;
}  // namespace kv_f32
namespace kv_f16 {
AttendFn attend;
StoreKvFn store;
}  // namespace kv_f16
namespace kv_q8 {
AttendFn attend;
StoreKvFn store;
}  // namespace kv_q8
namespace ops {
RmsNormFn rms_norm;
RopeFn rope;
SiluMulFn silu_mul;
AddFn add;
AddScaledFn add_scaled;
RouteFn route;
QuantizeFn quantize_i8g32;
QuantizeFn quantize_i8g256;
RoundQ4Fn round_q4;
}  // namespace ops
namespace probes {
int64_t fp32(int64_t rounds);
int64_t int8(int64_t rounds);
int64_t read(const uint8_t* data, int64_t bytes);
}  // namespace probes
const IsaTable& table();

#define QWEN3CPU_LESSER scalar
#include "kernels/fall_back.inc"

}  // namespace qwen3cpu::avx2
