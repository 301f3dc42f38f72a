// The peak of USMMLA.
#include "kernels/neon/probes.h"
#include "kernels/i8mm/kernels.h"

namespace qwen3cpu::i8mm {

int64_t probes::int8(int64_t rounds) {
  return neon::probe_products(rounds, 32,
                              [](int32x4_t acc, uint8x16_t w, int8x16_t x) { return vusmmlaq_s32(acc, w, x); });
}

}  // namespace qwen3cpu::i8mm
