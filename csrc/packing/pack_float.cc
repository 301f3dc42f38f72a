// f32 and bf16: [k][8 rows] values.
#include <cfloat>
#include <cstring>

#include "layout/half.h"
#include "packing/pack_formats.h"

namespace qwen3cpu::packing {
namespace {

// Writes [k][8 rows] values and the zeros that fill the tile's last cache line.
template <class Stored, class Store>
void pack_values(const TileRows& rows, Format format, uint8_t* tile, Store store) {
  const int cols = rows.cols();
  auto* out = reinterpret_cast<Stored*>(tile);
  float w[kGroup][kTileRows];
  for (int first = 0; first < cols; first += kGroup) {
    rows.columns(first, w);
    for (int i = 0; i < kGroup && first + i < cols; ++i)
      for (int r = 0; r < kTileRows; ++r) *out++ = store(w[i][r]);
  }
  std::memset(out, 0, static_cast<size_t>(tile + tile_bytes(format, cols) - reinterpret_cast<uint8_t*>(out)));
}

}  // namespace

// The largest float that rounds to a finite bf16.
const float bf16::largest = 0x1.fefffep+127f;
const float f32::largest = FLT_MAX;

void f32::pack_tile(const TileRows& rows, const TilePlace& to) {
  pack_values<float>(rows, Format::f32, to.tile, [](float x) { return x; });
}

void f32::unpack_row(const Matrix& w, int tile, int r, float* out) {
  const auto* values = reinterpret_cast<const float*>(w.tile(tile));
  for (int k = 0; k < w.cols; ++k) out[k] = values[k * kTileRows + r];
}

void bf16::pack_tile(const TileRows& rows, const TilePlace& to) {
  pack_values<uint16_t>(rows, Format::bf16, to.tile, [](float x) { return float_to_bf16(x); });
}

void bf16::unpack_row(const Matrix& w, int tile, int r, float* out) {
  const auto* values = reinterpret_cast<const uint16_t*>(w.tile(tile));
  for (int k = 0; k < w.cols; ++k) out[k] = bf16_to_float(values[k * kTileRows + r]);
}

}  // namespace qwen3cpu::packing
