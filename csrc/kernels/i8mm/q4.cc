// q4 products with USMMLA and USDOT.
#include "kernels/i8mm/dot.h"
#include "kernels/neon/q4_panel.h"
#include "kernels/neon/q4_tiles.h"

namespace qwen3cpu::i8mm {

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < Usmmla::kPanelLeast) {
    neon::multiply_q4<Usmmla, neon::Q4Format>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
    return;
  }
  neon::multiply_q4_panels<Usmmla>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

#include "kernels/q4x2_kernel.inc"

}  // namespace qwen3cpu::i8mm
