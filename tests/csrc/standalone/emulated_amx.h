// Force-included into csrc/kernels/amx for kernel_check_emulated_amx, to check these kernels on CPUs without AMX. It
// replaces the tile intrinsics by a model of the tile registers in plain C++. A call that would fault on a CPU ends the
// program. The rest of the kernels is AVX-512 and must run on the CPU.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "system/isa.h"

namespace qwen3cpu::amx::emulation {
namespace {

struct Tiles {
  bool configured = false;
  int rows[8] = {};
  int row_bytes[8] = {};
  uint8_t data[8][16][64] = {};
};

inline Tiles& tiles() {
  static thread_local Tiles all;
  return all;
}

inline void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "emulated AMX: %s\n", what);
  std::abort();
}

// config: 64 bytes, with the rows of the tiles from byte 48 on and the bytes of their rows from byte 16 on.
inline void configure(const void* config) {
  const auto* bytes = static_cast<const uint8_t*>(config);
  Tiles& t = tiles();
  t = Tiles{};
  require(bytes[0] == 1, "palette 1 is the only one");
  for (int i = 0; i < 8; ++i) {
    uint16_t row_bytes;
    std::memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof(row_bytes));
    t.rows[i] = bytes[48 + i];
    t.row_bytes[i] = row_bytes;
    require(t.rows[i] <= 16 && t.row_bytes[i] <= 64, "a tile is 16 rows of 64 bytes at most");
  }
  t.configured = true;
}

inline void release() { tiles() = Tiles{}; }

inline void zero(int tile) {
  require(tiles().configured, "a tile is used before it is configured");
  std::memset(tiles().data[tile], 0, sizeof(tiles().data[tile]));
}

inline void load(int tile, const void* from, int64_t stride) {
  zero(tile);
  Tiles& t = tiles();
  for (int row = 0; row < t.rows[tile]; ++row)
    std::memcpy(t.data[tile][row], static_cast<const uint8_t*>(from) + row * stride,
                static_cast<size_t>(t.row_bytes[tile]));
}

inline void store(int tile, void* to, int64_t stride) {
  const Tiles& t = tiles();
  require(t.configured, "a tile is stored before it is configured");
  for (int row = 0; row < t.rows[tile]; ++row)
    std::memcpy(static_cast<uint8_t*>(to) + row * stride, t.data[tile][row], static_cast<size_t>(t.row_bytes[tile]));
}

// c[m][n] += sum over k and i of a[m][4 k + i] * b[k][4 n + i], int32
inline void add_products(int c, int a, int b) {
  Tiles& t = tiles();
  require(t.configured, "tiles are multiplied before they are configured");
  const int quads = t.row_bytes[a] / 4, columns = t.row_bytes[c] / 4;
  require(t.rows[a] == t.rows[c] && t.rows[b] == quads && t.row_bytes[b] == t.row_bytes[c], "shapes do not fit");
  for (int m = 0; m < t.rows[c]; ++m)
    for (int n = 0; n < columns; ++n) {
      int32_t sum;
      std::memcpy(&sum, t.data[c][m] + 4 * n, sizeof(sum));
      for (int k = 0; k < quads; ++k)
        for (int i = 0; i < 4; ++i)
          sum += int{static_cast<int8_t>(t.data[a][m][4 * k + i])} * int{static_cast<int8_t>(t.data[b][k][4 * n + i])};
      std::memcpy(t.data[c][m] + 4 * n, &sum, sizeof(sum));
    }
}

}  // namespace
}  // namespace qwen3cpu::amx::emulation

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#define _tile_loadconfig(config) qwen3cpu::amx::emulation::configure(config)
#define _tile_release() qwen3cpu::amx::emulation::release()
#define _tile_zero(tile) qwen3cpu::amx::emulation::zero(tile)
#define _tile_loadd(tile, from, stride) qwen3cpu::amx::emulation::load(tile, from, stride)
#define _tile_stored(tile, to, stride) qwen3cpu::amx::emulation::store(tile, to, stride)
#define _tile_dpbssd(c, a, b) qwen3cpu::amx::emulation::add_products(c, a, b)

#define cpu_runs_amx cpu_runs_avx512vnni
