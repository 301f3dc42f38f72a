// The scale of a row of q4.
#pragma once

namespace qwen3cpu::packing {

// The row scale for which the largest group scale covers all weights [cols] and a little more, because rounding with
// feedback may make a weight larger before it is rounded.
float q4_row_scale(const float* weights, int cols);

}  // namespace qwen3cpu::packing
