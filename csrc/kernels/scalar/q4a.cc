// q4a weights, of all sizes of groups, times int8 activations with a scale per 32.
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

int32_t sum_of_32(const int8_t* x) {
  int32_t sum = 0;
  for (int i = 0; i < kGroup; ++i) sum += x[i];
  return sum;
}

// A MatmulFn for groups of G.
template <int G>
void multiply_q4a(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t*) {
  constexpr int parts = G / kGroup, in_block = Q4aBlock<G>::kCols / kGroup;
  const int in_all = ceil_div(w.cols, kGroup);  // the inputs have zeros after the last column
  for (int tile = 0; tile < n_tiles; ++tile) {
    const auto* blocks = reinterpret_cast<const Q4aBlock<G>*>(w.tile(first_tile + tile));
    for (int t = 0; t < n_tokens; ++t) {
      const int8_t* input = x.q + int64_t{first_token + t} * x.stride;
      const float* scale_x = x.scale + int64_t{first_token + t} * x.scales;
      for (int r = 0; r < kTileRows; ++r) {
        float acc = 0.0f;
        for (int first = 0; first < in_all; first += parts) {
          const Q4aBlock<G>& block = blocks[first / in_block];
          const int group = first % in_block / parts, end = first + parts < in_all ? first + parts : in_all;
          float inputs = 0.0f, products = 0.0f;
          for (int k = first; k < end; ++k) {
            const int8_t* xs = input + k * kGroup;
            inputs = std::fma(static_cast<float>(sum_of_32(xs)), scale_x[k], inputs);
            const int32_t dot = dot_of_32(block.q[k % in_block], r, xs);
            products = std::fma(static_cast<float>(dot), scale_x[k], products);
          }
          acc = std::fma(inputs, block.minimum[group][r], acc);
          acc = std::fma(products, block.scale[group][r], acc);
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
