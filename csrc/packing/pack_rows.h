// Packing many rows with a team of threads.
#pragma once

#include "packing/pack.h"
#include "packing/pack_affine.h"

namespace qwen3cpu {

// Packs rows [first_row, first_row + n_rows) of a matrix [rows, cols] into their place in `matrix` (see pack_tiles).
// first_row is a multiple of 8. Throws Error, which names row, column and value of the first weight that the format
// cannot hold.
void pack_rows(Format format, Source source, const void* from, int rows, int cols, int first_row, int n_rows,
               uint8_t* matrix, int threads);

// Writes rows `[first_row, first_row + n_rows)`, the first rows of `from`, into their place in a matrix of q4a32, q4a64
// or q4a128. Throws Error for a level above 15, and for a scale or minimum that is not finite.
void write_affine_rows(Format format, const AffineRows& from, int first_row, int n_rows, uint8_t* matrix, int threads);

}  // namespace qwen3cpu
