// q4s: searches the scale of least squared error for every row and 32 weights.
//
// A group is first divided by -(its weight of largest magnitude). So this weight becomes -1, for which the level -8 is
// used, and the sign goes into the group's scale. Then all groups are searched with the same candidate scales 1 / c.
#include <cfloat>
#include <cmath>
#include <cstring>
#include <vector>

#include "packing/four_rows.h"
#include "packing/pack_formats.h"

namespace qwen3cpu::packing {
namespace {

// The grid of c. On Gaussian groups of 32 this grid and one least-squares step are within 0.01 dB of a grid ten times
// as fine. A c below 5.5 or above 9 is hardly ever the best.
constexpr float kFirstLevel = 5.5f;
constexpr float kLevelStep = 0.25f;
constexpr int kLevels = 15;

// 32 weights of 4 rows, divided by minus the row's weight of largest magnitude.
struct Group {
  Rows u[kGroup];
  Rows negated_extreme;  // w = u * negated_extreme
};

void normalize(const float (&w)[kGroup][kTileRows], int first_row, Group& group) {
  for (int lane = 0; lane < kLanes; ++lane) {
    float extreme = 0.0f;
    for (int i = 0; i < kGroup; ++i) {
      const float x = w[i][first_row + lane];
      extreme = std::fabs(x) > std::fabs(extreme) ? x : extreme;
    }
    // Weights so small have a row scale of zero as well (see normal_or_zero). The others are divided, because 1 /
    // extreme would be subnormal for the largest weights.
    const bool zero = std::fabs(extreme) < FLT_MIN * 16.0f;
    const float divisor = zero ? FLT_MAX : -extreme;
    for (int i = 0; i < kGroup; ++i) group.u[i][lane] = w[i][first_row + lane] / divisor;
    group.negated_extreme[lane] = zero ? 0.0f : -extreme;
  }
}

Rows squared_error(const Group& group, Rows scale, Rows inverse) {
  Rows error = {};
  for (int i = 0; i < kGroup; ++i) {
    const Rows d = group.u[i] - quantize(group.u[i], inverse) * scale;
    error += d * d;
  }
  return error;
}

// The scale of least error for given quantised values: sum(u q) / sum(q^2).
Rows least_squares_scale(const Group& group, Rows inverse) {
  Rows uq = {}, qq = {};
  for (int i = 0; i < kGroup; ++i) {
    const Rows q = quantize(group.u[i], inverse);
    uq += group.u[i] * q;
    qq += q * q;
  }
  const Rows zero = {}, one = {1, 1, 1, 1};
  return uq / (qq > zero ? qq : one);
}

// The best scale of every lane, positive, in units of negated_extreme.
Rows search_scale(const Group& group) {
  const Rows ones = {1, 1, 1, 1};
  Rows best_error = ones * FLT_MAX, best_level = ones;
  for (int i = 0; i < kLevels; ++i) {
    const float level = kFirstLevel + kLevelStep * static_cast<float>(i);
    const Rows error = squared_error(group, ones * (1.0f / level), ones * level);
    best_level = error < best_error ? ones * level : best_level;
    best_error = min(error, best_error);
  }
  const Rows refined = least_squares_scale(group, best_level);
  const Rows zero = {};
  const Rows usable = refined > zero ? refined : ones;
  const Rows error = squared_error(group, usable, ones / usable);
  return error < best_error ? usable : ones / best_level;
}

// The integer scale of least error near |scale| / row_scale, and the size of one step of q in units of negated_extreme.
struct IntegerScale {
  Rows value;  // 0..127
  Rows step;
};

IntegerScale search_integer_scale(const Group& group, Rows wanted, Rows row_scale) {
  const Rows zero = {}, ones = {1, 1, 1, 1}, most = ones * 127.0f, round = ones * 0x1.8p+23f;
  const Rows magnitude = max(group.negated_extreme, -group.negated_extreme);
  const Rows unit = row_scale / (magnitude > zero ? magnitude : ones);
  const Rows nearest = (wanted + round) - round;
  Rows best_value = zero;
  Rows best_error = squared_error(group, zero, zero);
  for (int delta = -1; delta <= 1; ++delta) {
    const Rows value = max(min(nearest + ones * static_cast<float>(delta), most), zero);
    const Rows step = value * unit;
    const Rows error =
        squared_error(group, step, ones / (step > zero ? step : ones));  // value 0: larger than the start
    const auto better = (error < best_error) & (value > zero);
    best_value = better ? value : best_value;
    best_error = better ? error : best_error;
  }
  return {best_value, best_value * unit};
}

void write_group(const Group& group, const IntegerScale& scale, int first_row, Q4sBlock& block, int g) {
  const Rows zero = {}, ones = {1, 1, 1, 1};
  const Rows inverse = scale.step > zero ? ones / scale.step : zero;
  const Rows value = group.negated_extreme < zero ? -scale.value : scale.value;
  int8_t stored[kLanes], q[kGroup][kLanes];
  const int8_t* places[kGroup];
  for (int lane = 0; lane < kLanes; ++lane) stored[lane] = static_cast<int8_t>(value[lane]);
  for (int i = 0; i < kGroup; ++i) {
    const Rows quantized = quantize(group.u[i], inverse);
    for (int lane = 0; lane < kLanes; ++lane) q[i][lane] = static_cast<int8_t>(quantized[lane]);
    places[i] = q[i];
  }
  std::memcpy(block.scale[g] + first_row, stored, sizeof(stored));
  store_nibbles(places, first_row, kLanes, block, g);
}

}  // namespace

const float q4s::largest = FLT_MAX;

void q4s::pack_tile(const TileRows& rows, const TilePlace& to) {
  uint8_t* tile = to.tile;
  float* row_scales = to.row_scales;
  const int groups = ceil_div(rows.cols(), kGroup);
  std::memset(tile, 0, static_cast<size_t>(tile_bytes(Format::q4s, rows.cols())));
  auto* blocks = reinterpret_cast<Q4sBlock*>(tile);
  std::vector<float> scales(static_cast<size_t>(groups) * kTileRows);  // [groups][8], magnitudes
  float largest[kTileRows] = {};
  float w[kGroup][kTileRows];
  Group group;
  for (int g = 0; g < groups; ++g) {
    rows.columns(g * kGroup, w);
    for (int first_row = 0; first_row < kTileRows; first_row += kLanes) {
      normalize(w, first_row, group);
      const Rows scale = search_scale(group) * max(group.negated_extreme, -group.negated_extreme);
      for (int lane = 0; lane < kLanes; ++lane) {
        const int r = first_row + lane;
        scales[static_cast<size_t>(g * kTileRows + r)] = scale[lane];
        largest[r] = scale[lane] > largest[r] ? scale[lane] : largest[r];
      }
    }
  }
  for (int r = 0; r < kTileRows; ++r) row_scales[r] = normal_or_zero(largest[r] / 127.0f);
  for (int g = 0; g < groups; ++g) {
    rows.columns(g * kGroup, w);
    for (int first_row = 0; first_row < kTileRows; first_row += kLanes) {
      normalize(w, first_row, group);
      Rows row_scale, wanted;
      for (int lane = 0; lane < kLanes; ++lane) {
        const int r = first_row + lane;
        row_scale[lane] = row_scales[r];
        wanted[lane] = row_scales[r] > 0.0f ? scales[static_cast<size_t>(g * kTileRows + r)] / row_scales[r] : 0.0f;
      }
      write_group(group, search_integer_scale(group, wanted, row_scale), first_row, blocks[g / Q4sBlock::kGroups],
                  g % Q4sBlock::kGroups);
    }
  }
}

void q4s::unpack_row(const Matrix& w, int tile, int r, float* out) {
  const auto* blocks = reinterpret_cast<const Q4sBlock*>(w.tile(tile));
  const float row_scale = w.row_scales(tile)[r];
  for (int k = 0; k < w.cols; ++k) {
    const Q4sBlock& block = blocks[k / Q4sBlock::kCols];
    const int g = k / kGroup % Q4sBlock::kGroups, i = k % kGroup;
    const int two = block.q[g][i % 16 / 4][r][i % 4];
    const int q = i < 16 ? two & 15 : two >> 4;
    out[k] = row_scale * static_cast<float>(block.scale[g][r]) * static_cast<float>(q - 8);
  }
}

}  // namespace qwen3cpu::packing
