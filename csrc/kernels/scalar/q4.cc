// q4 weights times int8 activations with a scale per 256.
#include "kernels/scalar/q4_blocks.h"

namespace qwen3cpu::scalar {
namespace {

// Sum over group g of the block of (8 (n - 8) + 3 (z - 7)) * x for row r, times s.
int32_t group_dot(const Q4Block& block, int g, int r, const int8_t* x) {
  const int s = block.scale[g][r] & 15, zero = (block.scale[g][r] >> 4) - kQ4ZeroMiddle;
  int32_t products = 0, sum = 0;
  for (int v = 0; v < 4; ++v) {
    for (int i = 0; i < 4; ++i) {
      const int two = block.q[g][v][r][i], low = x[4 * v + i], high = x[16 + 4 * v + i];
      products += ((two & 15) - kQ4Middle) * low + ((two >> 4) - kQ4Middle) * high;
      sum += low + high;
    }
  }
  return s * (kQ4LevelParts * products + kQ4ZeroParts * zero * sum);
}

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t*) {
  multiply_blocks<Q4Block>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, group_dot);
}

#include "kernels/q4x2_kernel.inc"

}  // namespace qwen3cpu::scalar
