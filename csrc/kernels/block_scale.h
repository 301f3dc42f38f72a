// The scale for rounding a block of floats to int8. Internal linkage.
#pragma once

#include "layout/half.h"

namespace qwen3cpu {
namespace {

// A block is stored as q = round(x * inverse) and stands for q * scale. With inverse 0 every q is 0 for any x.
struct BlockScale {
  float inverse, scale;
};

// See QuantizeFn. amax_bits: the greatest magnitude of the block as bits. In integer order a NaN is above infinity.
inline BlockScale block_scale(uint32_t amax_bits) {
  constexpr uint32_t infinity = 0x7f800000u;
  const float amax = bits_float(amax_bits);
  if (amax_bits >= infinity) return {0.0f, amax};
  const float inverse = 127.0f / amax;
  if ((float_bits(inverse) & 0x7fffffffu) >= infinity) return {0.0f, 0.0f};
  return {inverse, amax / 127.0f};
}

}  // namespace
}  // namespace qwen3cpu
