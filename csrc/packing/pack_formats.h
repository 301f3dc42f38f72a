// What packing needs from each weight format; pack_<format>.cc files define it, pack.cc calls it.
#pragma once

#include "layout/tensor.h"
#include "packing/source.h"

namespace qwen3cpu::packing {

// Writes one row tile: tile_bytes(format, cols) bytes at `tile`, float[8] at `row_scales` (formats with row scales
// only).
using PackTileFn = void(const TileRows& rows, uint8_t* tile, float* row_scales);
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
