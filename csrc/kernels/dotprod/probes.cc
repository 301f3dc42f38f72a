// The peak of SDOT.
#include "kernels/neon/probes.h"
#include "kernels/dotprod/kernels.h"

namespace qwen3cpu::dotprod {

int64_t probes::int8(int64_t rounds) {
  return neon::probe_products(
      rounds, 16, [](int32x4_t acc, uint8x16_t w, int8x16_t x) { return vdotq_s32(acc, vreinterpretq_s8_u8(w), x); });
}

}  // namespace qwen3cpu::dotprod
