// Keys and values: attention to a block, and writing into one. See ../kv_block.h.
#include "kernels/neon/kv_vectors.h"
#include "kernels/neon/quantize.h"

namespace qwen3cpu::neon {
namespace {

inline void store_halves(uint16_t* p, F8 x) {
  vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.low), x.high)));
}

inline void store_quantized(int8_t* p, F8 x, BlockScale scale) { vst1_s8(p, quantize8(x, scale)); }

}  // namespace

#include "kernels/kv_definition.inc"

}  // namespace qwen3cpu::neon
