// Second moments of inputs within blocks of neighbouring columns, and the factors of them for rounding (round_q4.h).
//
// Order of operations: each sum takes tokens, or the terms of a factor, in ascending order, for any number of threads
// and on any machine. So a model packed on another CPU has the same bytes.
#pragma once

#include <cstdint>

namespace qwen3cpu {

// moments [blocks][block][block] += X'X within each block of columns, x [tokens][cols]. The last block may be narrower;
// the rest of its moments does not change. Only the upper triangles are kept up to date. block: a multiple of 8.
void add_block_moments(const float* x, int tokens, int cols, int block, float* moments, int threads);

// u [blocks][n][n] = the upper triangular U with U'U = m^-1 for each symmetric m [n][n] of `matrices`, of which only
// the upper triangle is read. False when one is not positive definite.
bool invert_factors(const double* matrices, int blocks, int n, float* u, int threads);

}  // namespace qwen3cpu
