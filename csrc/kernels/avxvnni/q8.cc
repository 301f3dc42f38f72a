// q8 weights times int8 activations: see ../vnni_q8.h.
#include "kernels/vnni_q8.h"

#include "kernels/avxvnni/rows.h"
#include "kernels/vnni_q8_panel.h"

namespace qwen3cpu::avxvnni {

void q8::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < Rows::kQ8PanelLeast)
    vnni::multiply<Rows, vnni::Q8Product>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
  else
    vnni::multiply_panels<Rows, vnni::Q8Panel>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

}  // namespace qwen3cpu::avxvnni
