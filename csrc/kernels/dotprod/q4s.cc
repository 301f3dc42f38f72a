// q4s products with SDOT.
#include "kernels/dotprod/dot.h"
#include "kernels/neon/q4_tiles.h"

namespace qwen3cpu::dotprod {

void q4s::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t*) {
  neon::multiply_q4<Sdot, neon::Q4sFormat>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::dotprod
