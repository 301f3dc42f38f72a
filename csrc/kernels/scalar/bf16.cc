// bf16 weights times f32 activations. The weights are widened exactly to f32.
#include <cmath>

#include "kernels/scalar/kernels.h"
#include "layout/half.h"

namespace qwen3cpu::scalar {

void bf16::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t*) {
  for (int tile = 0; tile < n_tiles; ++tile) {
    const auto* weights = reinterpret_cast<const uint16_t*>(w.tile(first_tile + tile));  // [k][8 rows]
    for (int t = 0; t < n_tokens; ++t) {
      const float* input = x.f32 + int64_t{first_token + t} * x.stride;
      for (int r = 0; r < kTileRows; ++r) {
        float acc = 0.0f;
        for (int k = 0; k < w.cols; ++k) acc = std::fma(bf16_to_float(weights[k * kTileRows + r]), input[k], acc);
        y[t * ldy + tile * kTileRows + r] = acc;
      }
    }
  }
}

}  // namespace qwen3cpu::scalar
