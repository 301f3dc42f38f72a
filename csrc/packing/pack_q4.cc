// q4: searches the step and the place of zero of least squared error for every row and 32 weights.
#include <cfloat>
#include <cmath>
#include <cstring>
#include <vector>

#include "packing/four_rows.h"
#include "packing/pack_formats.h"
#include "packing/q4_rows.h"

namespace qwen3cpu::packing {
namespace {

constexpr int kMostZero = kQ4ZeroMiddle + kQ4MostZero;

Rows all(float x) { return Rows{x, x, x, x}; }

// 32 weights of 4 rows, divided by the row's largest magnitude among them, so that no square is subnormal or infinite.
struct Group {
  Rows w[kGroup];
  Rows least, most;
  Rows magnitude;  // their divisor; 0 where the weights are so small that they are stored as zeros
};

Group read_group(const float (&w)[kGroup][kTileRows], int first_row) {
  Group group{};
  for (int i = 0; i < kGroup; ++i) {
    std::memcpy(&group.w[i], w[i] + first_row, sizeof(Rows));
    group.magnitude = max(group.magnitude, max(group.w[i], -group.w[i]));
  }
  const auto small = group.magnitude < all(FLT_MIN * 2048.0f);
  group.magnitude = small ? all(0) : group.magnitude;
  for (Rows& each : group.w) {
    each = small ? all(0) : each / (small ? all(1.0f) : group.magnitude);
    group.least = min(group.least, each);
    group.most = max(group.most, each);
  }
  return group;
}

// The shift of the levels by the place of zero, in steps: w is near step * (n - 8 + moved).
Rows moved(Rows zero) { return (zero - all(kQ4ZeroMiddle)) * all(kQ4ZeroStep); }

Rows squared_error(const Group& group, Rows step, Rows zero) {
  const Rows inverse = all(1.0f) / step, offset = moved(zero);
  Rows error = {};
  for (int i = 0; i < kGroup; ++i) {
    const Rows v = group.w[i] * inverse - offset, d = v - quantize(v, all(1.0f));
    error += d * d;
  }
  return error * (step * step);
}

struct Choice {
  Rows error, step, zero;

  void take_better(Rows other_error, Rows other_step, Rows other_zero) {
    const auto better = other_error < error;
    step = better ? other_step : step;
    zero = better ? other_zero : zero;
    error = better ? other_error : error;
  }
};

// Tries several zeros for a step above 0: the one that puts the middle of the levels nearest to that of the weights,
// and `zeros` on each side of it.
void try_step(const Group& group, Rows step, int zeros, Choice& choice) {
  const Rows middle = (group.least + group.most) * all(0.5f) / step;
  const Rows nearest = round_to_integer((middle + all(0.5f)) / all(kQ4ZeroStep)) + all(kQ4ZeroMiddle);
  for (int i = -zeros; i <= zeros; ++i) {
    const Rows zero = max(min(nearest + all(static_cast<float>(i)), all(kMostZero)), all(0));
    choice.take_better(squared_error(group, step, zero), step, zero);
  }
}

// The step of least error.
Rows search_step(const Group& group, const Q4Search& search) {
  const Rows range = (group.most - group.least) / all(kQ4Range);
  const Rows whole = max(range, max(group.most / all(kQ4Above), -group.least / all(kQ4Below)));
  const auto empty = whole <= all(0);
  Choice choice{all(FLT_MAX), all(0), all(0)};
  for (int i = 0; i < search.parts; ++i) {
    const Rows step = whole * all(search.first_part + search.part_step * static_cast<float>(i));
    try_step(group, empty ? all(1.0f) : step, search.zeros, choice);
  }
  return empty ? all(0) : choice.step * group.magnitude;
}

// Writes 4 rows of group g, with the best of the scales around wanted / (8 * row_scale).
void write_group(const Group& group, Rows wanted, Rows row_scale, int zeros, int first_row, Q4Block& block, int g) {
  const auto empty = (row_scale <= all(0)) | (group.magnitude <= all(0));
  const Rows unit = row_scale * all(kQ4LevelParts);  // of a step
  const Rows nearest = empty ? all(0) : round_to_integer(wanted / (empty ? all(1.0f) : unit));
  const Rows own_unit = empty ? all(1.0f) : unit / (empty ? all(1.0f) : group.magnitude);
  Choice choice{all(0), all(0), all(kQ4ZeroMiddle)};
  for (const Rows& each : group.w) choice.error += each * each;
  for (int i = -1; i <= 1; ++i) {
    const Rows scale = max(min(nearest + all(static_cast<float>(i)), all(kQ4MostScale)), all(1.0f));
    try_step(group, scale * own_unit, zeros, choice);
  }
  const auto zeroed = choice.step <= all(0);
  const Rows inverse = zeroed ? all(0) : all(1.0f) / (zeroed ? all(1.0f) : choice.step);
  const Rows scale = round_to_integer(choice.step / own_unit), offset = moved(choice.zero);
  int8_t q[kGroup][kLanes];
  const int8_t* places[kGroup];
  for (int lane = 0; lane < kLanes; ++lane)
    block.scale[g][first_row + lane] =
        static_cast<uint8_t>(static_cast<int>(scale[lane]) | static_cast<int>(choice.zero[lane]) << 4);
  for (int i = 0; i < kGroup; ++i) {
    const Rows n = quantize(group.w[i] * inverse - offset, all(1.0f));
    for (int lane = 0; lane < kLanes; ++lane) q[i][lane] = static_cast<int8_t>(n[lane]);
    places[i] = q[i];
  }
  store_nibbles(places, first_row, kLanes, block, g);
}

}  // namespace

// With this limit the outermost levels, up to half a step beyond the weights, are finite.
const float q4::largest = FLT_MAX / 2;

void q4::pack_tile(const TileRows& rows, const TilePlace& to) { pack_q4_tile(rows, kThoroughSearch, to); }

void pack_q4_tile(const TileRows& rows, const Q4Search& search, const TilePlace& to) {
  uint8_t* tile = to.tile;
  float* row_scales = to.row_scales;
  const int groups = ceil_div(rows.cols(), kGroup);
  std::memset(tile, 0, static_cast<size_t>(tile_bytes(Format::q4, rows.cols())));
  auto* blocks = reinterpret_cast<Q4Block*>(tile);
  std::vector<float> steps(static_cast<size_t>(groups) * kTileRows);  // [groups][8]
  float largest[kTileRows] = {};
  float w[kGroup][kTileRows];
  for (int g = 0; g < groups; ++g) {
    rows.columns(g * kGroup, w);
    for (int first_row = 0; first_row < kTileRows; first_row += kLanes) {
      const Rows step = search_step(read_group(w, first_row), search);
      for (int lane = 0; lane < kLanes; ++lane) {
        const int r = first_row + lane;
        steps[static_cast<size_t>(g * kTileRows + r)] = step[lane];
        largest[r] = step[lane] > largest[r] ? step[lane] : largest[r];
      }
    }
  }
  for (int r = 0; r < kTileRows; ++r)
    row_scales[r] = normal_or_zero(largest[r] / static_cast<float>(kQ4MostScale * kQ4LevelParts));
  for (int g = 0; g < groups; ++g) {
    rows.columns(g * kGroup, w);
    for (int first_row = 0; first_row < kTileRows; first_row += kLanes) {
      Rows row_scale, wanted;
      std::memcpy(&row_scale, row_scales + first_row, sizeof(Rows));
      std::memcpy(&wanted, steps.data() + g * kTileRows + first_row, sizeof(Rows));
      write_group(read_group(w, first_row), wanted, row_scale, search.zeros, first_row, blocks[g / Q4Block::kGroups],
                  g % Q4Block::kGroups);
    }
  }
}

void unpack_q4_row(const uint8_t* tile, float row_scale, int r, int cols, float* out) {
  const auto* blocks = reinterpret_cast<const Q4Block*>(tile);
  for (int k = 0; k < cols; ++k) {
    const Q4Block& block = blocks[k / Q4Block::kCols];
    const int g = k / kGroup % Q4Block::kGroups, i = k % kGroup;
    const int two = block.q[g][i % 16 / 4][r][i % 4], n = i < 16 ? two & 15 : two >> 4;
    const int s = block.scale[g][r] & 15, zero = block.scale[g][r] >> 4;
    const int parts = s * (kQ4LevelParts * (n - kQ4Middle) + kQ4ZeroParts * (zero - kQ4ZeroMiddle));
    out[k] = row_scale * static_cast<float>(parts);
  }
}

void q4::unpack_row(const Matrix& w, int tile, int r, float* out) {
  unpack_q4_row(w.tile(tile), w.row_scales(tile)[r], r, w.cols, out);
}

}  // namespace qwen3cpu::packing
