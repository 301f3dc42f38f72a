// q4a weights times int8 activations: see ../vnni_q4a.h.
#include "kernels/vnni_q4a.h"

#include "kernels/avxvnni/rows.h"

namespace qwen3cpu::avxvnni {

#define QWEN3CPU_MULTIPLY(G) vnni::multiply_q4a<G, Rows>
#include "kernels/q4a_sizes.inc"

}  // namespace qwen3cpu::avxvnni
