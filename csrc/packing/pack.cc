// Reading source rows, finding what cannot be packed, and going from tile to tile.
#include "packing/pack.h"

#include <cstring>

#include "layout/half.h"
#include "packing/pack_formats.h"

namespace qwen3cpu {
namespace packing {
namespace {

struct F32 {
  using Stored = float;
  static float load(float x) { return x; }
};
struct F16 {
  using Stored = uint16_t;
  static float load(uint16_t x) { return half_to_float(x); }
};
struct Bf16 {
  using Stored = uint16_t;
  static float load(uint16_t x) { return bf16_to_float(x); }
};

template <class Element>
void to_float(const void* from, int64_t n, float* out) {
  const auto* stored = static_cast<const typename Element::Stored*>(from);
  for (int64_t i = 0; i < n; ++i) out[i] = Element::load(stored[i]);
}

constexpr uint32_t kMagnitude = 0x7fffffffu;  // magnitudes of floats compare like their bits; a NaN is above infinity

}  // namespace

template <class Element>
void TileRows::transpose(int first, float (&out)[kGroup][kTileRows]) const {
  const int n = cols_ - first < kGroup ? cols_ - first : kGroup;
  if (n < kGroup || rows_ < kTileRows) std::memset(out, 0, sizeof(out));
  for (int r = 0; r < rows_; ++r) {
    const auto* row = static_cast<const typename Element::Stored*>(from_) + int64_t{r} * cols_ + first;
    for (int i = 0; i < n; ++i) out[i][r] = Element::load(row[i]);
  }
}

template <class Element>
std::optional<Unpackable> TileRows::find_above(float largest) const {
  const uint32_t limit = float_bits(largest);
  for (int r = 0; r < rows_; ++r) {
    const auto* row = static_cast<const typename Element::Stored*>(from_) + int64_t{r} * cols_;
    uint32_t greatest = 0;
    for (int i = 0; i < cols_; ++i) {
      const uint32_t magnitude = float_bits(Element::load(row[i])) & kMagnitude;
      greatest = magnitude > greatest ? magnitude : greatest;
    }
    if (greatest <= limit) continue;
    for (int i = 0; i < cols_; ++i)
      if ((float_bits(Element::load(row[i])) & kMagnitude) > limit) return Unpackable{r, i, Element::load(row[i])};
  }
  return std::nullopt;
}

void TileRows::columns(int first, float (&out)[kGroup][kTileRows]) const {
  switch (source_) {
    case Source::f32:
      return transpose<F32>(first, out);
    case Source::f16:
      return transpose<F16>(first, out);
    case Source::bf16:
      return transpose<Bf16>(first, out);
  }
}

std::optional<Unpackable> TileRows::first_above(float largest) const {
  switch (source_) {
    case Source::f32:
      return find_above<F32>(largest);
    case Source::f16:
      return find_above<F16>(largest);
    case Source::bf16:
      return find_above<Bf16>(largest);
  }
  return std::nullopt;
}

}  // namespace packing

void source_to_float(Source source, const void* from, int64_t n, float* out) {
  switch (source) {
    case Source::f32:
      return packing::to_float<packing::F32>(from, n, out);
    case Source::f16:
      return packing::to_float<packing::F16>(from, n, out);
    case Source::bf16:
      return packing::to_float<packing::Bf16>(from, n, out);
  }
}

namespace {

struct Packing {
  packing::PackTileFn* pack_tile;
  packing::UnpackRowFn* unpack_row;
  const float* largest;
};
const Packing kPackings[] = {
#define FORMAT(name, activations) {packing::name::pack_tile, packing::name::unpack_row, &packing::name::largest},
#include "layout/formats.inc"
#undef FORMAT
};

const Packing& packing_of(Format format) { return kPackings[static_cast<int>(format)]; }

}  // namespace

std::optional<Unpackable> pack_tiles(Format format, int rows, int cols, Source source, const void* from, int first_tile,
                                     int n_tiles, uint8_t* matrix) {
  const Packing& packing = packing_of(format);
  const int64_t bytes = tile_bytes(format, cols);
  auto* row_scales = reinterpret_cast<float*>(matrix + row_tiles(rows) * bytes);
  for (int tile = first_tile; tile < first_tile + n_tiles; ++tile) {
    const int first_row = tile * kTileRows;
    const int present = rows - first_row < kTileRows ? rows - first_row : kTileRows;
    const packing::TileRows tile_rows(source, from, present, cols);
    if (std::optional<Unpackable> bad = tile_rows.first_above(*packing.largest)) {
      bad->row += first_row;
      return bad;
    }
    packing.pack_tile(tile_rows, matrix + tile * bytes, has_row_scales(format) ? row_scales + first_row : nullptr);
    from = static_cast<const uint8_t*>(from) + kTileRows * cols * source_bytes(source);
  }
  return std::nullopt;
}

void row_to_float(const Matrix& w, int row, float* out) {
  packing_of(w.format).unpack_row(w, row / kTileRows, row % kTileRows, out);
}

}  // namespace qwen3cpu
