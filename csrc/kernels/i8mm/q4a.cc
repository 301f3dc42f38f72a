// q4a products with USMMLA and USDOT.
#include "kernels/i8mm/dot.h"
#include "kernels/neon/q4a_tiles.h"

namespace qwen3cpu::i8mm {

#define QWEN3CPU_MULTIPLY(G) neon::multiply_q4a<Usmmla, G>
#include "kernels/q4a_sizes.inc"

}  // namespace qwen3cpu::i8mm
