// Weights that another quantiser has rounded to sixteen levels, written to q4a unchanged.
#pragma once

#include <cstdint>

#include "layout/format.h"

namespace qwen3cpu {

// w = scale * n + minimum, in groups along the columns.
struct AffineRows {
  int cols;
  int group;             // columns that share a scale and a minimum: a multiple of the format's group
  const uint8_t* n;      // [rows][cols], 0..15
  const float* scale;    // [rows][groups], finite; the last group may be short
  const float* minimum;  // the same
};

// Writes rows `[first_row, first_row + n_rows)` of the source, at most 8, as a row tile of q4a32, q4a64 or q4a128.
void pack_affine_tile(Format format, const AffineRows& rows, int first_row, int n_rows, uint8_t* tile);

}  // namespace qwen3cpu
