// bf16 weights, widened as they are loaded, times the inputs of several tokens.
#include "kernels/avx512vnni/float_pairs.h"
#include "kernels/avx512vnni/kernels.h"

namespace qwen3cpu::avx512vnni {
namespace {

struct Bf16 {
  using Stored = uint16_t;
  static __m512 load(const uint16_t* p, int64_t apart) {
    const auto half = [](const uint16_t* at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); };
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(half(p)), half(p + apart), 1);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(both), 16));
  }
};

}  // namespace

void bf16::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t*) {
  multiply<Bf16>(avx2::bf16::matmul, w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::avx512vnni
