// Rows of a checkpoint, read as float.
#pragma once

#include <cstdint>
#include <optional>

#include "layout/format.h"

namespace qwen3cpu {

// The element type of the rows to be packed.
enum class Source : uint8_t { f32, f16, bf16 };

constexpr int64_t source_bytes(Source source) { return source == Source::f32 ? 4 : 2; }

// out[n] = n elements at `from` as float.
void source_to_float(Source source, const void* from, int64_t n, float* out);

// A weight that the format cannot hold: NaN, an infinity, or beyond the format's largest scale.
struct Unpackable {
  int row;  // of the matrix
  int col;
  float value;
};

namespace packing {

// Up to 8 rows of a source matrix, read as float.
class TileRows {
 public:
  TileRows(Source source, const void* from, int rows, int cols)
      : source_(source), from_(from), rows_(rows), cols_(cols) {}
  int cols() const { return cols_; }
  // Columns [first, first + 32) of all 8 rows, transposed. Missing rows and columns are 0.
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

}  // namespace packing
}  // namespace qwen3cpu
