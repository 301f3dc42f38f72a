// q4 weights times int8 activations: see ../vnni_q4.h, q4_one_token.h, ../vnni_q4_steps.h and ../vnni_q4_panel.h.
#include "kernels/vnni_q4.h"

#include "kernels/avx512vnni/q4_one_token.h"
#include "kernels/vnni_q4_panel.h"

namespace qwen3cpu::avx512vnni {
namespace {

struct Q4Product : vnni::Q4Product {
  template <class Rows, int R, int T>
  static void run(const Matrix& w, int tile, int apart, const Tokens& x, const int32_t* start, float* y, int64_t ldy) {
    if constexpr (T == 1 && R * Rows::kTiles == kTogether)
      multiply_one_token(w, tile, apart, x, y);
    else
      vnni::Q4Product::run<Rows, R, T>(w, tile, apart, x, start, y, ldy);
  }
};

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < Rows::kStepsLeast)
    vnni::multiply<Rows, Q4Product>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
  else if (n_tokens < Rows::kPanelLeast)
    vnni::multiply_q4_steps<Rows>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
  else
    vnni::multiply_panels<Rows, vnni::Q4Panel>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

#include "kernels/q4x2_kernel.inc"

}  // namespace qwen3cpu::avx512vnni
