// q4 products with SDOT.
#include "kernels/dotprod/dot.h"
#include "kernels/neon/q4_panel.h"
#include "kernels/neon/q4_tiles.h"

namespace qwen3cpu::dotprod {

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < Sdot::kPanelLeast) {
    neon::multiply_q4<Sdot, neon::Q4Format>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
    return;
  }
  neon::multiply_q4_panels<Sdot>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

#include "kernels/q4x2_kernel.inc"

}  // namespace qwen3cpu::dotprod
