// f32 weights.
#include "kernels/float_tiles.h"

#include "kernels/neon/simd.h"

namespace qwen3cpu::neon {
namespace {

struct F32 {
  using Stored = float;
  using Simd = neon::Simd;
  static F8 load(const float* rows) { return load8(rows); }
};

}  // namespace

void f32::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t*) {
  float_tiles::multiply<F32>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::neon
