// Cuts quantised inputs into runs of tokens, and pieces of weights into row tiles that are walked side by side. The
// compiler knows the number of both. Internal linkage: every file has its own copy, compiled with its flags.
#pragma once

#include "kernels/table.h"

namespace qwen3cpu {
namespace {

#define QWEN3CPU_INLINE inline __attribute__((always_inline))

// Some tokens' activations.
struct Tokens {
  const int8_t* q;  // [T][stride]
  const float* scale;
  const int16_t* sum;
  int64_t stride, scales, sums;
};

template <int N>
struct Count {
  static constexpr int value = N;
};

// Calls body(Count<n>) for T <= n <= kMost.
template <int kMost, int T = 1, class Body>
QWEN3CPU_INLINE void with_count(int n, Body&& body) {
  if constexpr (T < kMost) {
    if (n != T) return with_count<kMost, T + 1>(n, body);
  }
  body(Count<T>{});
}

// Cuts tokens into runs of at most kMost. The loop over runs is outside that over row tiles, so that a run's
// activations stay in L1 while the piece's tiles come from L2. Calls body(Count, the tokens, their first y). kLeast: no
// run has fewer tokens.
template <int kMost, int kLeast = 1, class Body>
inline void for_token_runs(const Activations& x, int first_token, int n_tokens, float* y, int64_t ldy, Body&& body) {
  const int64_t sums = x.stride / kGroup;
  for (int t = 0; t < n_tokens;) {
    const int left = n_tokens - t;
    const int n = ceil_div(left, ceil_div(left, kMost));  // 9 tokens are 5 + 4, not 8 + 1
    const int64_t token = int64_t{first_token} + t;
    const Tokens tokens = {
        x.q + token * x.stride, x.scale + token * x.scales, x.sum + token * sums, x.stride, x.scales, sums};
    with_count<kMost, kLeast>(n, [&](auto count) { body(count, tokens, y + t * ldy); });
    t += n;
  }
}

// Calls body(Count<n>, tile, apart) until every row tile of a piece has been in a call. A call has n tiles to walk side
// by side, one from each of n equal parts of the piece, `apart` tiles from each other. The first calls have
// `n = kMost`. When fewer tiles are left, n is halved, and so on. kMost is a power of two.
//
// With n tiles, the prefetchers of a core run ahead in n streams, which helps products that are limited by memory.
template <int kMost, class Body>
QWEN3CPU_INLINE void for_tiles_side_by_side(int first_tile, int n_tiles, Body&& body) {
  const int apart = n_tiles / kMost;
  for (int i = 0; i < apart; ++i) body(Count<kMost>{}, first_tile + i, apart);
  if constexpr (kMost > 1) for_tiles_side_by_side<kMost / 2>(first_tile + kMost * apart, n_tiles - kMost * apart, body);
}

// As for_tiles_side_by_side, with n tiles one after the other (apart is 1).
template <int kMost, class Body>
QWEN3CPU_INLINE void for_tiles_in_a_row(int first_tile, int n_tiles, Body&& body) {
  int tile = first_tile;
  for (; tile + kMost <= first_tile + n_tiles; tile += kMost) body(Count<kMost>{}, tile, 1);
  if constexpr (kMost > 1) for_tiles_in_a_row<kMost / 2>(tile, first_tile + n_tiles - tile, body);
}

}  // namespace
}  // namespace qwen3cpu
