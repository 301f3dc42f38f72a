// q4 weights times int8 activations with a scale per 256.
#include <cmath>

#include "kernels/scalar/kernels.h"

namespace qwen3cpu::scalar {
namespace {

// Sum over group g of the block of (8 (n - 8) + 3 (z - 7)) * x for row r, times s.
int32_t group_dot(const Q4Block& block, int g, int r, const int8_t* x) {
  const int s = block.scale[g][r] & 15, zero = (block.scale[g][r] >> 4) - kQ4ZeroMiddle;
  int32_t products = 0, sum = 0;
  for (int v = 0; v < 4; ++v) {
    for (int i = 0; i < 4; ++i) {
      const int two = block.q[g][v][r][i], low = x[4 * v + i], high = x[16 + 4 * v + i];
      products += ((two & 15) - kQ4Middle) * low + ((two >> 4) - kQ4Middle) * high;
      sum += low + high;
    }
  }
  return s * (kQ4LevelParts * products + kQ4ZeroParts * zero * sum);
}

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t*) {
  const int groups = ceil_div(w.cols, kGroup);
  for (int tile = 0; tile < n_tiles; ++tile) {
    const auto* blocks = reinterpret_cast<const Q4Block*>(w.tile(first_tile + tile));
    const float* row_scales = w.row_scales(first_tile + tile);
    for (int t = 0; t < n_tokens; ++t) {
      const int8_t* input = x.q + int64_t{first_token + t} * x.stride;
      const float* scale_x = x.scale + int64_t{first_token + t} * x.scales;
      for (int r = 0; r < kTileRows; ++r) {
        float acc = 0.0f;
        for (int b = 0; b * Q4Block::kGroups < groups; ++b) {
          int32_t dot = 0;
          for (int g = 0; g < Q4Block::kGroups && b * Q4Block::kGroups + g < groups; ++g)
            dot += group_dot(blocks[b], g, r, input + b * Q4Block::kCols + g * kGroup);
          acc = std::fma(static_cast<float>(dot), scale_x[b], acc);
        }
        y[t * ldy + tile * kTileRows + r] = acc * row_scales[r];
      }
    }
  }
}

}  // namespace qwen3cpu::scalar
