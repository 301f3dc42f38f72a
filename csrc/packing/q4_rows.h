// Row tiles in q4.
#pragma once

#include <cstdint>

#include "packing/pack_formats.h"

namespace qwen3cpu::packing {

// The steps that are tried for a group, as fractions of the least step whose levels cover all of its weights. With each
// step, `zeros` places of zero on either side of the nearest one are tried.
struct Q4Search {
  float first_part, part_step;
  int parts, zeros;
};
inline constexpr Q4Search kThoroughSearch = {0.72f, 0.03f, 14, 2};
// Takes a sixth of the time. Its larger error is within the range of the second part of q4x2.
inline constexpr Q4Search kQuickSearch = {0.88f, 0.1f, 2, 1};

void pack_q4_tile(const TileRows& rows, const Q4Search& search, const TilePlace& to);

// out[cols] = row r of a row tile in float.
void unpack_q4_row(const uint8_t* tile, float row_scale, int r, int cols, float* out);

}  // namespace qwen3cpu::packing
