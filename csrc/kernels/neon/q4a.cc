// q4a products with the baseline's widening multiplies.
#include "kernels/neon/q4a_tiles.h"

namespace qwen3cpu::neon {
namespace {

template <int G>
void multiply_q4a(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t* scratch) {
  multiply_q4a<Widening, G>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

}  // namespace

#include "kernels/q4a_sizes.inc"

}  // namespace qwen3cpu::neon
