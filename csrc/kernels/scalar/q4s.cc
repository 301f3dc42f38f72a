// q4s weights times int8 activations with a scale per 256.
#include "kernels/scalar/q4_blocks.h"

namespace qwen3cpu::scalar {
namespace {

// Sum over group g of the block of (q_w - 8) * q_x for row r, times the scale.
int32_t group_dot(const Q4sBlock& block, int g, int r, const int8_t* x) {
  int32_t dot = 0;
  for (int v = 0; v < 4; ++v) {
    for (int i = 0; i < 4; ++i) {
      const int two = block.q[g][v][r][i];
      dot += ((two & 15) - 8) * x[4 * v + i];
      dot += ((two >> 4) - 8) * x[16 + 4 * v + i];
    }
  }
  return block.scale[g][r] * dot;
}

}  // namespace

void q4s::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t*) {
  multiply_blocks<Q4sBlock>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, group_dot);
}

}  // namespace qwen3cpu::scalar
