// The loop over the blocks of q4 and q4s, which differ only in a group's dot product. Internal linkage.
#pragma once

#include <cmath>

#include "kernels/scalar/kernels.h"

namespace qwen3cpu::scalar {
namespace {

// A MatmulFn for blocks of 256 k. `group_dot(block, g, r, x)` is the term of group g in the int32 sum of row r. x:
// inputs of the group.
template <class Block, class GroupDot>
void multiply_blocks(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                     float* y, int64_t ldy, GroupDot group_dot) {
  const int groups = ceil_div(w.cols, kGroup);
  for (int tile = 0; tile < n_tiles; ++tile) {
    const auto* blocks = reinterpret_cast<const Block*>(w.tile(first_tile + tile));
    const float* row_scales = w.row_scales(first_tile + tile);
    for (int t = 0; t < n_tokens; ++t) {
      const int8_t* input = x.q + int64_t{first_token + t} * x.stride;
      const float* scale_x = x.scale + int64_t{first_token + t} * x.scales;
      for (int r = 0; r < kTileRows; ++r) {
        float acc = 0.0f;
        for (int b = 0; b * Block::kGroups < groups; ++b) {
          int32_t dot = 0;
          for (int g = 0; g < Block::kGroups && b * Block::kGroups + g < groups; ++g)
            dot += group_dot(blocks[b], g, r, input + b * Block::kCols + g * kGroup);
          acc = std::fma(static_cast<float>(dot), scale_x[b], acc);
        }
        y[t * ldy + tile * kTileRows + r] = acc * row_scales[r];
      }
    }
  }
}

}  // namespace
}  // namespace qwen3cpu::scalar
