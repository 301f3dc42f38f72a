// What packing needs from each weight format; pack_<format>.cc files define it, pack.cc calls it.
#pragma once

#include "packing/pack.h"

namespace qwen3cpu::packing {

// Up to 8 rows of a source matrix, read as float.
class TileRows {
 public:
  TileRows(Source source, const void* from, int rows, int cols)
      : source_(source), from_(from), rows_(rows), cols_(cols) {}
  int cols() const { return cols_; }
  // Columns [first, first + 32) of all 8 rows, transposed; rows and columns that do not exist are 0.
  void columns(int first, float (&out)[kGroup][kTileRows]) const;
  // The first weight whose magnitude is above `largest` or that is NaN; row counts within the tile.
  std::optional<Unpackable> first_above(float largest) const;

 private:
  template <class Element>
  void transpose(int first, float (&out)[kGroup][kTileRows]) const;
  template <class Element>
  std::optional<Unpackable> find_above(float largest) const;

  Source source_;
  const void* from_;
  int rows_;
  int cols_;
};

// Writes one row tile: tile_bytes(format, cols) bytes at `tile`, float[8] at `row_scales` (formats with row scales
// only).
using PackTileFn = void(const TileRows& rows, uint8_t* tile, float* row_scales);
// Columns of row r (0..7) of row tile `tile` in float.
using UnpackRowFn = void(const Matrix& w, int tile, int r, float* out);

#define FORMAT(name, activations) \
  namespace name {                \
  PackTileFn pack_tile;           \
  UnpackRowFn unpack_row;         \
  extern const float largest;     \
  }
#include "layout/formats.inc"
#undef FORMAT

}  // namespace qwen3cpu::packing
