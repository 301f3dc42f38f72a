// Kernels for CPUs with AVX-512 and its VNNI dot products: products of the quantised formats, attention of many rows,
// rounding. Everything else in this instruction set's table is the AVX2 kernel. Each gives the bits of its scalar twin.
#pragma once

#include "kernels/avx2/kernels.h"

namespace qwen3cpu::avx512vnni {
#include "kernels/derived_declarations.inc"
#define KV_FORMAT(name, value_bytes, scale_bytes) \
  namespace kv_##name {                           \
    AttendFn attend;                              \
  }
#include "layout/kv_formats.inc"
#undef KV_FORMAT
RoundQ4Fn round_q4;
}  // namespace qwen3cpu::avx512vnni
