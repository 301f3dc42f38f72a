// Rounding to q4 with the errors fed back: what rounding a column does to the outputs is made up for by the columns
// that come after it (GPTQ, arXiv 2210.17323).
//
// For inputs of second moments H the loss of a row is (w - q) H (w - q)'. With H^-1 = U' U, U upper triangular, that is
// the sum over columns, in order, of e_i^2, e_i = (w_i - q_i) / U_ii, when every rounded column subtracts e_i U_ij from
// the columns j behind it. Here are the columns of some groups at a time; the caller subtracts errors * U from the
// rest.
#pragma once

#include "packing/pack.h"

namespace qwen3cpu {

inline constexpr int kMostRunColumns = 256;

// Weights [rows][cols] as a checkpoint stores them; a row begins `stride` elements after the one before.
struct SourceRows {
  Source source;
  const void* data;
  int rows;
  int cols;
  int64_t stride;

  const void* at(int row, int col) const {
    return static_cast<const uint8_t*>(data) + (row * stride + col) * source_bytes(source);
  }
};

// Columns that are rounded together, in this order.
struct ColumnRun {
  const int* from;      // [n]: where their weights are; from the source's `cols` on are zeros
  const int* to;        // [n]: their places in the matrix; every 32 from the start are those of one group, in any order
  int n;                // a multiple of 32 up to kMostRunColumns; places from the matrix' `cols` on are padding
  const float* factor;  // [n][n]: their part of U
};

// Writes the row scales of a q4 matrix for these weights.
void start_rounding(const SourceRows& w, uint8_t* matrix, int threads);

// Rounds the columns of a run into their place in `matrix`, of `cols` columns, and leaves e in errors [rows][n] unless
// that is nullptr. The scale of each group and row is that of least loss within the group, feedback included, among
// those tried (RoundQ4Fn in kernels/table.h).
void round_columns(const SourceRows& w, int cols, const ColumnRun& run, uint8_t* matrix, float* errors, int threads);

}  // namespace qwen3cpu
