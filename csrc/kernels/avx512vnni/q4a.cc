// q4a weights times int8 activations: see ../vnni_q4a.h.
#include "kernels/vnni_q4a.h"

#include "kernels/avx512vnni/rows.h"

namespace qwen3cpu::avx512vnni {
namespace {

template <int G>
void multiply_q4a(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t* scratch) {
  vnni::multiply_q4a<G, Rows>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

}  // namespace

#include "kernels/q4a_sizes.inc"

}  // namespace qwen3cpu::avx512vnni
