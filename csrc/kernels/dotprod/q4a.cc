// q4a products with SDOT.
#include "kernels/dotprod/dot.h"
#include "kernels/neon/q4a_tiles.h"

namespace qwen3cpu::dotprod {
namespace {

template <int G>
void multiply_q4a(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t* scratch) {
  neon::multiply_q4a<Sdot, G>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

}  // namespace

#include "kernels/q4a_sizes.inc"

}  // namespace qwen3cpu::dotprod
