// f32 weights.
#include "kernels/float_tiles.h"

#include "kernels/avx2/simd.h"

namespace qwen3cpu::avx2 {
namespace {

struct F32 {
  using Stored = float;
  using Simd = avx2::Simd;
  static __m256 load(const float* rows) { return _mm256_loadu_ps(rows); }
};

}  // namespace

void f32::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t*) {
  float_tiles::multiply<F32>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::avx2
