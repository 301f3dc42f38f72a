// The peak of TDPBSSD: tiles of 16 tokens' activations times 16 rows of weights, 64 k.
#include "kernels/amx/tiles.h"

namespace qwen3cpu::amx {

int64_t probes::int8(int64_t rounds) {
  configure_tiles(64);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < rounds; ++i) {  // four sums, as in the kernels: a product every 16 cycles, a latency of 52
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_release();
  return rounds * 4 * kTokens * kRows * 64;
}

}  // namespace qwen3cpu::amx
