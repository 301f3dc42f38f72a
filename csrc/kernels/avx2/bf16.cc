// bf16 weights, widened as they are loaded.
#include "kernels/float_tiles.h"

#include "kernels/avx2/simd.h"

namespace qwen3cpu::avx2 {
namespace {

struct Bf16 {
  using Stored = uint16_t;
  using Simd = avx2::Simd;
  static __m256 load(const uint16_t* rows) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
};

}  // namespace

void bf16::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t*) {
  float_tiles::multiply<Bf16>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::avx2
