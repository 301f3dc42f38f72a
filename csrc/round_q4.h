// Rounding to q4 with the errors fed back: what rounding a column does to the outputs is made up for by the columns
// that come after it (GPTQ, arXiv 2210.17323).
//
// For inputs of second moments H the loss of a row is (w - q) H (w - q)'. With H^-1 = U' U, U upper triangular, that is
// the sum over columns, in order, of e_i^2, e_i = (w_i - q_i) / U_ii, when every rounded column subtracts e_i U_ij from
// the columns j behind it. Here are the columns of some groups at a time; the caller subtracts errors * U from the
// rest.
#pragma once

#include "format.h"

namespace qwen3cpu {

inline constexpr int kMostRunColumns = 256;

// Columns that are rounded together, by default in the order in which they stand in the matrix.
struct ColumnRun {
  const int* columns;   // [n]: their places; every 32 from the start are those of one group, in any order
  int n;                // a multiple of 32 up to kMostRunColumns; places from `cols` on are padding of zero weights
  const float* factor;  // [n][n]: their part of U
};

// Writes the row scales of a q4 matrix for weights w [rows][cols], with room for group scales that feedback enlarges.
void start_rounding(const float* w, int rows, int cols, uint8_t* matrix);

// Rounds the columns w [rows][stride] of a run into their place in `matrix` and leaves e in errors [rows][n]. The scale
// of each group and row is the one of least loss within the group, feedback included.
void round_columns(const float* w, int64_t stride, int rows, int cols, const ColumnRun& run, uint8_t* matrix,
                   float* errors, int threads);

}  // namespace qwen3cpu
