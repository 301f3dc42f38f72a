// q4s weights times int8 activations: see ../vnni_q4s.h.
#include "kernels/vnni_q4s.h"

#include "kernels/avx512vnni/rows.h"

namespace qwen3cpu::avx512vnni {

void q4s::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t* scratch) {
  vnni::multiply<Rows, vnni::Q4Product>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

}  // namespace qwen3cpu::avx512vnni
