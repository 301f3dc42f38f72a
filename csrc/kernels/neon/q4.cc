// q4 products with the baseline's widening multiplies.
#include "kernels/neon/q4_tiles.h"

namespace qwen3cpu::neon {

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t*) {
  multiply_q4<Widening, Q4Format>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

#include "kernels/q4x2_kernel.inc"

}  // namespace qwen3cpu::neon
