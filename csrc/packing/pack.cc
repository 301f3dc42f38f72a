// Packs and reads a matrix tile by tile.
#include "packing/pack.h"

#include "packing/pack_formats.h"

namespace qwen3cpu {
namespace {

struct Packing {
  packing::PackTileFn* pack_tile;
  packing::UnpackRowFn* unpack_row;
  const float* largest;
};
const Packing kPackings[] = {
#define FORMAT(name, ...) {packing::name::pack_tile, packing::name::unpack_row, &packing::name::largest},
#include "layout/formats.inc"
#undef FORMAT
};

const Packing& packing_of(Format format) { return kPackings[static_cast<int>(format)]; }

}  // namespace

std::optional<Unpackable> pack_tiles(Format format, int rows, int cols, Source source, const void* from, int first_tile,
                                     int n_tiles, uint8_t* matrix) {
  const Packing& packing = packing_of(format);
  const bool two = format == Format::q4x2;
  const int64_t bytes = tile_bytes(two ? Format::q4 : format, cols), second = two ? second_part(rows, cols) : 0;
  auto* row_scales = reinterpret_cast<float*>(matrix + row_tiles(rows) * bytes);
  for (int tile = first_tile; tile < first_tile + n_tiles; ++tile) {
    const int first_row = tile * kTileRows;
    const int present = rows - first_row < kTileRows ? rows - first_row : kTileRows;
    const packing::TileRows tile_rows(source, from, present, cols);
    if (std::optional<Unpackable> bad = tile_rows.first_above(*packing.largest)) {
      bad->row += first_row;
      return bad;
    }
    float* scales = two || has_row_scales(format) ? row_scales + first_row : nullptr;
    packing.pack_tile(tile_rows, {matrix + tile * bytes, scales, second});
    from = static_cast<const uint8_t*>(from) + kTileRows * cols * source_bytes(source);
  }
  return std::nullopt;
}

void row_to_float(const Matrix& w, int row, float* out) {
  packing_of(w.format).unpack_row(w, row / kTileRows, row % kTileRows, out);
}

}  // namespace qwen3cpu
