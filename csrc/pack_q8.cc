// q8: an f16 scale per row and 32 weights, the largest weight at 127.
#include <cmath>
#include <cstring>

#include "half.h"
#include "pack_formats.h"

namespace qwen3cpu::packing {
namespace {

// The smallest half that is at least x >= 0, so that nothing is clipped.
uint16_t half_at_least(float x) {
  const uint16_t half = float_to_half(x);
  return half_to_float(half) < x ? static_cast<uint16_t>(half + 1) : half;
}

}  // namespace

const float q8::largest = 127.0f * 65504.0f;

void q8::pack_tile(const TileRows& rows, uint8_t* tile, float*) {
  std::memset(tile, 0, static_cast<size_t>(tile_bytes(Format::q8, rows.cols())));
  auto* blocks = reinterpret_cast<Q8Block*>(tile);
  float w[kGroup][kTileRows];
  for (int g = 0; g * kGroup < rows.cols(); ++g) {
    rows.columns(g * kGroup, w);
    Q8Block& block = blocks[g / Q8Block::kGroups];
    const int in_block = g % Q8Block::kGroups;
    float amax[kTileRows] = {}, inverse[kTileRows];
    for (int i = 0; i < kGroup; ++i)
      for (int r = 0; r < kTileRows; ++r) amax[r] = std::fabs(w[i][r]) > amax[r] ? std::fabs(w[i][r]) : amax[r];
    for (int r = 0; r < kTileRows; ++r) {
      const uint16_t scale = half_at_least(amax[r] / 127.0f);
      block.scale[in_block][r] = scale;
      inverse[r] = scale == 0 ? 0.0f : 1.0f / half_to_float(scale);
    }
    constexpr float round = 0x1.8p+23f;  // adding and subtracting it rounds to the nearest integer, vectorised
    for (int i = 0; i < kGroup; ++i)
      for (int r = 0; r < kTileRows; ++r)
        block.q[in_block][i / 4][r][i % 4] =
            static_cast<uint8_t>(static_cast<int>((w[i][r] * inverse[r] + round) - round) + 128);
  }
}

void q8::unpack_row(const Matrix& w, int tile, int r, float* out) {
  const auto* blocks = reinterpret_cast<const Q8Block*>(w.tile(tile));
  for (int k = 0; k < w.cols; ++k) {
    const Q8Block& block = blocks[k / Q8Block::kCols];
    const int g = k / kGroup % Q8Block::kGroups;
    out[k] = half_to_float(block.scale[g][r]) * static_cast<float>(block.q[g][k % kGroup / 4][r][k % 4] - 128);
  }
}

}  // namespace qwen3cpu::packing
