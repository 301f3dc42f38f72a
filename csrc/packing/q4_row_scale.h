// The scale of a row of q4.
#pragma once

namespace qwen3cpu::packing {

// The row scale of least expected error for weights [cols]. importance [cols]: how much the squared error of each
// counts; nullptr: all the same.
//
// The row scale bounds the steps of all groups, which are whole multiples of it: where a few weights are far beyond the
// others, either they are moved to the outermost level, or the others are rounded coarsely, or less of both.
float q4_row_scale(const float* weights, const float* importance, int cols);

}  // namespace qwen3cpu::packing
