// q4s weights times int8 activations with a scale per 256.
#include <cmath>

#include "kernels/scalar/kernels.h"

namespace qwen3cpu::scalar {
namespace {

// Sum over one group of (q_w - 8) * q_x for row r.
int32_t group_dot(const uint8_t (&q)[4][kTileRows][4], int r, const int8_t* x) {
  int32_t dot = 0;
  for (int v = 0; v < 4; ++v) {
    for (int i = 0; i < 4; ++i) {
      const int two = q[v][r][i];
      dot += ((two & 15) - 8) * x[4 * v + i];
      dot += ((two >> 4) - 8) * x[16 + 4 * v + i];
    }
  }
  return dot;
}

}  // namespace

void q4s::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t*) {
  const int groups = ceil_div(w.cols, kGroup);
  for (int tile = 0; tile < n_tiles; ++tile) {
    const auto* blocks = reinterpret_cast<const Q4sBlock*>(w.tile(first_tile + tile));
    const float* row_scales = w.row_scales(first_tile + tile);
    for (int t = 0; t < n_tokens; ++t) {
      const int8_t* input = x.q + int64_t{first_token + t} * x.stride;
      const float* scale_x = x.scale + int64_t{first_token + t} * x.scales;
      for (int r = 0; r < kTileRows; ++r) {
        float acc = 0.0f;
        for (int b = 0; b * Q4sBlock::kGroups < groups; ++b) {
          int32_t dot = 0;
          for (int g = 0; g < Q4sBlock::kGroups && b * Q4sBlock::kGroups + g < groups; ++g)
            dot += blocks[b].scale[g][r] * group_dot(blocks[b].q[g], r, input + b * Q4sBlock::kCols + g * kGroup);
          acc = std::fma(static_cast<float>(dot), scale_x[b], acc);
        }
        y[t * ldy + tile * kTileRows + r] = acc * row_scales[r];
      }
    }
  }
}

}  // namespace qwen3cpu::scalar
