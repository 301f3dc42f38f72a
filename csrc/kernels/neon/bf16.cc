// bf16 weights, widened as they are loaded.
#include "float_tiles.h"

namespace qwen3cpu::neon {
namespace {

struct Bf16 {
  using Stored = uint16_t;
  static constexpr int kColsPerLine = 4;
  static F8 load(const uint16_t* rows) {
    const uint16x8_t eight = vld1q_u16(rows);
    return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(eight), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(eight, 16))};
  }
};

}  // namespace

void bf16::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t*) {
  multiply_float<Bf16>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::neon
