// q8 weights times int8 activations with a scale per 32.
#include <cmath>

#include "kernels/scalar/kernels.h"
#include "layout/half.h"

namespace qwen3cpu::scalar {
namespace {

// Sum over one group of (q_w - 128) * q_x for row r.
int32_t group_dot(const uint8_t (&q)[8][kTileRows][4], int r, const int8_t* x) {
  int32_t dot = 0;
  for (int quad = 0; quad < 8; ++quad)
    for (int i = 0; i < 4; ++i) dot += (q[quad][r][i] - 128) * x[4 * quad + i];
  return dot;
}

}  // namespace

void q8::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t*) {
  const int groups = ceil_div(w.cols, kGroup);
  for (int tile = 0; tile < n_tiles; ++tile) {
    const auto* blocks = reinterpret_cast<const Q8Block*>(w.tile(first_tile + tile));
    for (int t = 0; t < n_tokens; ++t) {
      const int8_t* input = x.q + int64_t{first_token + t} * x.stride;
      const float* scale_x = x.scale + int64_t{first_token + t} * x.scales;
      for (int r = 0; r < kTileRows; ++r) {
        float acc = 0.0f;
        for (int g = 0; g < groups; ++g) {
          const Q8Block& block = blocks[g / Q8Block::kGroups];
          const int in_block = g % Q8Block::kGroups;
          const int32_t dot = group_dot(block.q[in_block], r, input + g * kGroup);
          acc = std::fma(static_cast<float>(dot), half_to_float(block.scale[in_block][r]) * scale_x[g], acc);
        }
        y[t * ldy + tile * kTileRows + r] = acc;
      }
    }
  }
}

}  // namespace qwen3cpu::scalar
