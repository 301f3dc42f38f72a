// Rounding to q4 with error feedback (GPTQ, arXiv 2210.17323): later columns compensate the error that rounding a
// column causes in the outputs.
//
// For inputs with second moments H the loss of a row is `(w - q) H (w - q)'`. Let `H^-1 = U' U`, U upper triangular,
// and let every rounded column i subtract `e_i U_ij` from the columns j after it, with `e_i = (w_i - q_i) / U_ii`. Then
// the loss is the sum of `e_i^2` over all columns. The functions here round the columns of some groups at a time. The
// caller subtracts errors * U from the columns after them.
#pragma once

#include "packing/pack.h"

namespace qwen3cpu {

inline constexpr int kMostRunColumns = 256;

// Weights [rows][cols] in a checkpoint's type. A row begins `stride` elements after the previous one.
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
  const int* from;      // [n]: source columns; a number from the source's `cols` on means zeros
  const int* to;        // [n]: columns in the matrix; every 32 from the start form one group, in any order
  int n;                // a multiple of 32 up to kMostRunColumns; places from the matrix' `cols` on are padding
  const float* factor;  // [n][n]: the part of U for these columns
};

// Writes the row scales of a q4 matrix for these weights.
void start_rounding(const SourceRows& w, uint8_t* matrix, int threads);

// Rounds the columns of a run into their place in `matrix`, which has `cols` columns. Writes e to errors [rows][n],
// unless that is nullptr. Each group and row gets the tried scale with the least loss within the group, including
// feedback (RoundQ4Fn in kernels/table.h).
void round_columns(const SourceRows& w, int cols, const ColumnRun& run, uint8_t* matrix, float* errors, int threads);

}  // namespace qwen3cpu
