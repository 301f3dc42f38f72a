// f32 weights.
#include "kernels/neon/float_tiles.h"

namespace qwen3cpu::neon {
namespace {

struct F32 {
  using Stored = float;
  static constexpr int kColsPerLine = 2;
  static F8 load(const float* rows) { return load8(rows); }
};

}  // namespace

void f32::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t*) {
  multiply_float<F32>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::neon
