// q8: for every row and 32 weights the f16 scale of least squared error is searched, from the largest weight at 127
// down to the largest weight at 119. A finer step rounds better on average, but how well 32 weights happen to fall on
// the steps differs more than that.
#include <cfloat>
#include <cmath>
#include <cstring>

#include "half.h"
#include "pack_formats.h"

namespace qwen3cpu::packing {
namespace {

// Largest levels that are tried. 0.25 apart instead of 0.5 gains another 0.1 dB, below 119 as much.
constexpr float kFirstLevel = 127.0f;  // first: weights that had 127 levels before come back exactly
constexpr float kLevelStep = 0.5f;
constexpr int kLevels = 17;

constexpr float kRound = 0x1.8p+23f;  // adding and subtracting it rounds to the nearest integer, vectorised

struct Scales {
  uint16_t half[kTileRows];
  float value[kTileRows];
  float inverse[kTileRows];
};

// The smallest half that is at least x >= 0, so that nothing is clipped.
uint16_t half_at_least(float x) {
  const uint16_t half = float_to_half(x);
  return half_to_float(half) < x ? static_cast<uint16_t>(half + 1) : half;
}

void put_largest_at(float level, const float (&amax)[kTileRows], Scales& scales) {
  for (int r = 0; r < kTileRows; ++r) {
    scales.half[r] = half_at_least(amax[r] / level);
    scales.value[r] = half_to_float(scales.half[r]);
    scales.inverse[r] = scales.half[r] == 0 ? 0.0f : 1.0f / scales.value[r];
  }
}

void squared_error(const float (&w)[kGroup][kTileRows], const Scales& scales, float (&error)[kTileRows]) {
  for (int r = 0; r < kTileRows; ++r) error[r] = 0.0f;
  for (int i = 0; i < kGroup; ++i)
    for (int r = 0; r < kTileRows; ++r) {
      const float rest = w[i][r] - ((w[i][r] * scales.inverse[r] + kRound) - kRound) * scales.value[r];
      error[r] += rest * rest;
    }
}

void search_scales(const float (&w)[kGroup][kTileRows], Scales& best) {
  float amax[kTileRows] = {}, error[kTileRows], best_error[kTileRows];
  for (int i = 0; i < kGroup; ++i)
    for (int r = 0; r < kTileRows; ++r) amax[r] = std::fabs(w[i][r]) > amax[r] ? std::fabs(w[i][r]) : amax[r];
  put_largest_at(kFirstLevel, amax, best);
  squared_error(w, best, best_error);
  Scales scales;
  for (int k = 1; k < kLevels; ++k) {
    put_largest_at(kFirstLevel - kLevelStep * static_cast<float>(k), amax, scales);
    squared_error(w, scales, error);
    for (int r = 0; r < kTileRows; ++r) {
      if (!(error[r] < best_error[r])) continue;
      best_error[r] = error[r];
      best.half[r] = scales.half[r];
      best.inverse[r] = scales.inverse[r];
    }
  }
}

}  // namespace

const float q8::largest = 127.0f * 65504.0f;

void q8::pack_tile(const TileRows& rows, uint8_t* tile, float*) {
  std::memset(tile, 0, static_cast<size_t>(tile_bytes(Format::q8, rows.cols())));
  auto* blocks = reinterpret_cast<Q8Block*>(tile);
  float w[kGroup][kTileRows];
  Scales scales;
  for (int g = 0; g * kGroup < rows.cols(); ++g) {
    rows.columns(g * kGroup, w);
    Q8Block& block = blocks[g / Q8Block::kGroups];
    const int in_block = g % Q8Block::kGroups;
    search_scales(w, scales);
    std::memcpy(block.scale[in_block], scales.half, sizeof(scales.half));
    for (int i = 0; i < kGroup; ++i)
      for (int r = 0; r < kTileRows; ++r)
        block.q[in_block][i / 4][r][i % 4] =
            static_cast<uint8_t>(static_cast<int>((w[i][r] * scales.inverse[r] + kRound) - kRound) + 128);
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
