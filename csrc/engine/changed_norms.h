// The norms of a matrix's rows after a low-rank change, which DoRA divides by.
#pragma once

#include "layout/tensor.h"

namespace qwen3cpu {

// norms[r] = |row r of W + b a|, with the weights that W's format stores. a_t: the transpose of a, [cols of W, rank],
// in f32 or bf16. b: [rows of W, rank]. A norm has the same bits for any number of threads and any instruction set.
void changed_norms(const Matrix& w, const Matrix& a_t, const float* b, float* norms, int threads);

}  // namespace qwen3cpu
