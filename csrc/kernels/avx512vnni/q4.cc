// q4 weights times int8 activations: see ../vnni_q4.h, q4_one_token.h, ../vnni_q4_steps.h and ../vnni_q4_panel.h.
#include "kernels/vnni_q4.h"

#include "kernels/avx512vnni/q4_one_token.h"
#include "kernels/vnni_q4_panel.h"

namespace qwen3cpu::avx512vnni {

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens == 1)
    multiply_q4_one_token(w, first_tile, n_tiles, x, first_token, y);
  else if (n_tokens < Rows::kStepsLeast)
    vnni::multiply<Rows, vnni::Q4Product>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
  else if (n_tokens < Rows::kPanelLeast)
    vnni::multiply_q4_steps<Rows>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
  else
    vnni::multiply_panels<Rows, vnni::Q4Panel>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

#include "kernels/q4x2_kernel.inc"

}  // namespace qwen3cpu::avx512vnni
