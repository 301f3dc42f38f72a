// The functions of each weight format for packing. Files pack_<format>.cc define them, and pack.cc calls them.
#pragma once

#include "layout/tensor.h"
#include "packing/source.h"

namespace qwen3cpu::packing {

// The place of a row tile of a matrix.
struct TilePlace {
  uint8_t* tile;      // tile_bytes(format, cols); of q4x2 that of its first part
  float* row_scales;  // float[8], formats with row scales and the first part of q4x2 only
  int64_t second;     // q4x2 only: bytes from `tile` and `row_scales` to those of the second part
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
