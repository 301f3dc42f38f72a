// The readable oracle of every kernel, which defines each output operation by operation. It declares a kernel for every
// row of the lists, so a forgotten or misspelt kernel is an error of the linker.
#pragma once

#include "kernels/table.h"

namespace qwen3cpu::scalar {

#define FORMAT(name, ...) \
  namespace name {        \
  MatmulFn matmul;        \
  }
#include "layout/formats.inc"
#undef FORMAT
#define KV_FORMAT(name, ...) \
  namespace kv_##name {      \
    AttendFn attend;         \
    StoreKvFn store;         \
  }
#include "layout/kv_formats.inc"
#undef KV_FORMAT
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

}  // namespace qwen3cpu::scalar
