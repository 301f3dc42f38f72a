// f32 weights.
#include "kernels/avx2/float_tiles.h"

namespace qwen3cpu::avx2 {
namespace {

struct F32 {
  using Stored = float;
  static constexpr int kColsPerLine = 2;
  static __m256 load(const float* tile, int k) { return _mm256_loadu_ps(tile + k * kTileRows); }
};

}  // namespace

void f32::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t*) {
  multiply_float<F32>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::avx2
