// q4a products with SDOT.
#include "kernels/dotprod/dot.h"
#include "kernels/neon/q4a_tiles.h"

namespace qwen3cpu::dotprod {

#define QWEN3CPU_MULTIPLY(G) neon::multiply_q4a<Sdot, G>
#include "kernels/q4a_sizes.inc"

}  // namespace qwen3cpu::dotprod
