// f32 weights times the inputs of several tokens.
#include "kernels/avx512vnni/float_pairs.h"
#include "kernels/avx512vnni/kernels.h"

namespace qwen3cpu::avx512vnni {
namespace {

struct F32 {
  using Stored = float;
  static __m512 load(const float* p, int64_t apart) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p)), _mm256_loadu_ps(p + apart), 1);
  }
};

}  // namespace

void f32::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t*) {
  multiply<F32>(avx2::f32::matmul, w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::avx512vnni
