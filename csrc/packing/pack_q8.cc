// q8: searches the f16 scale of least squared error for every row and 32 weights, from the largest weight at 127 down
// to the largest weight at 119. A finer step rounds better on average. But the errors of 32 weights differ more by
// chance, by how close the weights are to multiples of the step.
//
// Weights that others have rounded to few levels are often multiples of one step, which may put the largest at any
// level. Then a scale is found that loses nothing.
#include <cstring>

#include "layout/half.h"
#include "packing/four_rows.h"
#include "packing/pack_formats.h"

namespace qwen3cpu::packing {
namespace {

// The levels of the largest weight that are tried. A step of 0.25 instead of 0.5 would gain another 0.1 dB, and levels
// below 119 as much.
constexpr float kFirstLevel = 127.0f;  // tried first, so that weights that were stored with 127 levels stay exact
constexpr float kLevelStep = 0.5f;
constexpr int kLevels = 17;
constexpr int kTogether = 4;     // scales tried at a time, after the first
constexpr int kMostExact = 127;  // the highest level that is tried for a scale that loses nothing
constexpr int kScreened = 8;     // of these levels, tried at a time

typedef int32_t Bits __attribute__((vector_size(16)));

// The scales of four rows.
struct Scales {
  Bits half;
  Rows value;
  Rows inverse;
};

// The smallest half that is at least amax / level, so that nothing is clipped. It is infinite beyond the largest half.
Scales largest_at(float level, Rows amax) {
  constexpr int32_t kDropped = (1 << 13) - 1;  // the bits of a float's fraction that a half does not have
  constexpr int32_t kLeastNormal = 113 << 23, kBeyond = 143 << 23, kHalfInfinity = 0x7c00;
  const Bits infinity = Bits{} + (255 << 23);
  const Rows x = amax / level;
  const Bits up = ((Bits)x + kDropped) & ~kDropped;
  // Below 2^-14 halves are multiples of 2^-24, the spacing of floats at 0.5: the addition rounds to the nearest.
  const Rows nearest = (x + 0.5f) - 0.5f, subnormal = nearest < x ? nearest + 0x1p-24f : nearest;
  const Bits multiple = (Bits)(subnormal + 0.5f) - (Bits)(Rows{} + 0.5f);
  const Bits normal = (Bits)x >= kLeastNormal;
  const Bits finite = normal ? up : (Bits)subnormal;
  const Bits half = normal ? (up - (112 << 23)) >> 13 : multiple;
  const Rows value = (Rows)(finite >= kBeyond ? infinity : finite);
  return {half < kHalfInfinity ? half : Bits{} + kHalfInfinity, value, half == 0 ? Rows{} : 1.0f / value};
}

// The errors of several scales at once. Each sum is a chain of additions, and several chains hide its latency.
template <int N>
void squared_errors(const Rows (&w)[kGroup], const Scales (&scales)[N], Rows (&error)[N]) {
  for (const Rows& x : w)
    for (int n = 0; n < N; ++n) {
      const Rows rest = x - round_to_integer(x * scales[n].inverse) * scales[n].value;
      error[n] += rest * rest;
    }
}

Scales search_scales(const Rows (&w)[kGroup], Rows amax) {
  Scales best[1] = {largest_at(kFirstLevel, amax)};
  Rows least[1] = {};
  squared_errors(w, best, least);
  static_assert((kLevels - 1) % kTogether == 0);
  for (int first = 1; first < kLevels; first += kTogether) {
    Scales scales[kTogether];
    Rows error[kTogether] = {};
    for (int n = 0; n < kTogether; ++n)
      scales[n] = largest_at(kFirstLevel - kLevelStep * static_cast<float>(first + n), amax);
    squared_errors(w, scales, error);
    for (int n = 0; n < kTogether; ++n) {
      const Bits better = error[n] < least[0];
      least[0] = better ? error[n] : least[0];
      best[0].half = better ? scales[n].half : best[0].half;
      best[0].inverse = better ? scales[n].inverse : best[0].inverse;
    }
  }
  return best[0];
}

bool any(Bits lanes) {
  typedef int64_t Halves __attribute__((vector_size(16)));
  const auto halves = (Halves)lanes;
  return (halves[0] | halves[1]) != 0;
}

// Which rows are whole numbers, but for rounding, when they are multiplied by `inverse`.
Bits whole_numbers(Rows x, Rows inverse) {
  constexpr float kRounding = 1.0f / 16384.0f;  // more than the products are off by
  const Rows level = x * inverse, rest = level - round_to_integer(level);
  return max(rest, -rest) <= kRounding;
}

// Replaces the scales of rows whose weights are multiples of one step. One weight, which must not be the largest,
// nearly always tells that they are not.
void find_exact_scales(const Rows (&w)[kGroup], Rows amax, Scales& best) {
  const Rows inverse = 1.0f / amax, sample = max(w[0], -w[0]) == amax ? w[1] : w[0];
  for (int first = 1; first <= kMostExact; first += kScreened) {
    Bits possible = {};
    for (int n = 0; n < kScreened; ++n) possible |= whole_numbers(sample, inverse * static_cast<float>(first + n));
    if (!any(possible)) continue;
    for (int level = first; level < first + kScreened && level <= kMostExact; ++level) {
      Bits exact = Bits{} - 1;
      for (int i = 0; i < kGroup && any(exact); ++i) exact &= whole_numbers(w[i], inverse * static_cast<float>(level));
      if (!any(exact)) continue;
      const Scales scales = largest_at(static_cast<float>(level), amax);
      for (const Rows& x : w) exact &= round_to_integer(x * scales.inverse) * scales.value == x;
      best.half = exact ? scales.half : best.half;
      best.inverse = exact ? scales.inverse : best.inverse;
    }
  }
}

void put_rows(const float (&w)[kGroup][kTileRows], int first_row, Q8Block& block, int group) {
  Rows own[kGroup];
  for (int i = 0; i < kGroup; ++i) std::memcpy(&own[i], w[i] + first_row, sizeof(Rows));
  Rows amax = {};
  for (const Rows& x : own) amax = max(max(x, -x), amax);
  Scales scales = search_scales(own, amax);
  find_exact_scales(own, amax, scales);
  for (int lane = 0; lane < kLanes; ++lane)
    block.scale[group][first_row + lane] = static_cast<uint16_t>(scales.half[lane]);
  for (int i = 0; i < kGroup; ++i) {
    const Rows q = round_to_integer(own[i] * scales.inverse);
    for (int lane = 0; lane < kLanes; ++lane)
      block.q[group][i / 4][first_row + lane][i % 4] = static_cast<uint8_t>(static_cast<int>(q[lane]) + 128);
  }
}

}  // namespace

const float q8::largest = 127.0f * 65504.0f;

void q8::pack_tile(const TileRows& rows, const TilePlace& to) {
  std::memset(to.tile, 0, static_cast<size_t>(tile_bytes(Format::q8, rows.cols())));
  auto* blocks = reinterpret_cast<Q8Block*>(to.tile);
  float w[kGroup][kTileRows];
  for (int g = 0; g * kGroup < rows.cols(); ++g) {
    rows.columns(g * kGroup, w);
    for (int first_row = 0; first_row < kTileRows; first_row += kLanes)
      put_rows(w, first_row, blocks[g / Q8Block::kGroups], g % Q8Block::kGroups);
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
