// q4a products with the baseline's widening multiplies.
#include "kernels/neon/q4a_tiles.h"

namespace qwen3cpu::neon {

#define QWEN3CPU_MULTIPLY(G) multiply_q4a<Widening, G>
#include "kernels/q4a_sizes.inc"

}  // namespace qwen3cpu::neon
