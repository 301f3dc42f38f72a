// bf16 weights, widened as they are loaded.
#include "kernels/float_tiles.h"

#include "kernels/neon/simd.h"

namespace qwen3cpu::neon {
namespace {

struct Bf16 {
  using Stored = uint16_t;
  using Simd = neon::Simd;
  static F8 load(const uint16_t* rows) {
    const uint16x8_t eight = vld1q_u16(rows), zero = vdupq_n_u16(0);  // zips run on more pipes than widening shifts
    return {vreinterpretq_f32_u16(vzip1q_u16(zero, eight)), vreinterpretq_f32_u16(vzip2q_u16(zero, eight))};
  }
};

}  // namespace

void bf16::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t*) {
  float_tiles::multiply<Bf16>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::neon
