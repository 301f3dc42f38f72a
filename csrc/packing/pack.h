// Packing a checkpoint's rows into the weight formats, and reading packed rows back.
#pragma once

#include <optional>

#include "layout/tensor.h"
#include "packing/source.h"

namespace qwen3cpu {

// Packs row tiles [first_tile, first_tile + n_tiles) of a matrix [rows, cols] into their place in `matrix`.
//   matrix  the first byte of the whole packed matrix, of `matrix_bytes(format, rows, cols)` bytes
//   from    row 8 * first_tile of the source; rows of `cols` elements follow one another
// Returns the first weight that cannot be packed. Its tile and those after it are not written then. Calls for different
// tiles may run at the same time. A tile's bytes depend on its own rows only.
std::optional<Unpackable> pack_tiles(Format format, int rows, int cols, Source source, const void* from, int first_tile,
                                     int n_tiles, uint8_t* matrix);

// out[cols] = row `row` of a packed matrix in float, with the weights that kernels compute with (the embedding lookup).
//   q8   scale * (q - 128)
//   q4   row_scale * (s * (8 (n - 8) + 3 (z - 7)))
//   q4s  row_scale * scale first, then * (q - 8)
void row_to_float(const Matrix& w, int row, float* out);

}  // namespace qwen3cpu
