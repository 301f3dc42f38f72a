// The scale of a row of q4.
#pragma once

namespace qwen3cpu::packing {

// The row scale with which the largest group scale reaches all weights [cols], and a little further: rounding with
// feedback may make a weight larger before its turn comes.
float q4_row_scale(const float* weights, int cols);

}  // namespace qwen3cpu::packing
