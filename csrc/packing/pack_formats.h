// What packing needs from each weight format; pack_<format>.cc files define it, pack.cc calls it.
#pragma once

#include "layout/tensor.h"
#include "packing/source.h"

namespace qwen3cpu::packing {

// Where a row tile of a matrix belongs.
struct TilePlace {
  uint8_t* tile;      // tile_bytes(format, cols); of q4x2 that of its first part
  float* row_scales;  // float[8], formats with row scales and the first part of q4x2 only
  int64_t second;     // bytes from there to the second part of q4x2
};

// Writes one row tile.
using PackTileFn = void(const TileRows& rows, const TilePlace& to);
// Columns of row r (0..7) of row tile `tile` in float.
using UnpackRowFn = void(const Matrix& w, int tile, int r, float* out);

#define FORMAT(name, ...)     \
  namespace name {            \
  PackTileFn pack_tile;       \
  UnpackRowFn unpack_row;     \
  extern const float largest; \
  }
#include "layout/formats.inc"
#undef FORMAT

}  // namespace qwen3cpu::packing
