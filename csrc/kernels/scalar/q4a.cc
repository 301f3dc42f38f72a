// q4a weights, of all sizes of groups, times int8 activations with a scale per 256.
#include <cmath>

#include "kernels/scalar/kernels.h"

namespace qwen3cpu::scalar {
namespace {

// Sum over 32 k of n * x for row r.
int32_t dot_of_32(const uint8_t (&q)[4][kTileRows][4], int r, const int8_t* x) {
  int32_t dot = 0;
  for (int v = 0; v < 4; ++v) {
    for (int i = 0; i < 4; ++i) {
      const int two = q[v][r][i];
      dot += (two & 15) * x[4 * v + i] + (two >> 4) * x[16 + 4 * v + i];
    }
  }
  return dot;
}

// What a block adds to row r before the scale of the activations; k: columns that it has.
template <int G>
float part_of(const Q4aBlock<G>& block, int k, int r, const int8_t* x) {
  float part = 0.0f;
  for (int g = 0; g * G < k; ++g) {
    int32_t sum = 0;
    for (int i = g * G; i < (g + 1) * G && i < k; ++i) sum += x[i];
    part = std::fma(static_cast<float>(sum), block.minimum[g][r], part);
  }
  for (int g = 0; g * G < k; ++g) {
    int32_t dot = 0;
    for (int i = g * G; i < (g + 1) * G && i < k; i += kGroup) dot += dot_of_32(block.q[i / kGroup], r, x + i);
    part = std::fma(static_cast<float>(dot), block.scale[g][r], part);
  }
  return part;
}

// A MatmulFn for groups of G.
template <int G>
void multiply_q4a(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t*) {
  constexpr int cols_of_block = Q4aBlock<G>::kCols;
  const int cols = ceil_div(w.cols, kGroup) * kGroup;  // the inputs have zeros there
  for (int tile = 0; tile < n_tiles; ++tile) {
    const auto* blocks = reinterpret_cast<const Q4aBlock<G>*>(w.tile(first_tile + tile));
    for (int t = 0; t < n_tokens; ++t) {
      const int8_t* input = x.q + int64_t{first_token + t} * x.stride;
      const float* scale_x = x.scale + int64_t{first_token + t} * x.scales;
      for (int r = 0; r < kTileRows; ++r) {
        float acc = 0.0f;
        for (int b = 0; b * cols_of_block < cols; ++b) {
          const int left = cols - b * cols_of_block, here = left < cols_of_block ? left : cols_of_block;
          acc = std::fma(part_of(blocks[b], here, r, input + b * cols_of_block), scale_x[b], acc);
        }
        y[t * ldy + tile * kTileRows + r] = acc;
      }
    }
  }
}

}  // namespace

#define QWEN3CPU_MULTIPLY(G) multiply_q4a<G>
#include "kernels/q4a_sizes.inc"

}  // namespace qwen3cpu::scalar
