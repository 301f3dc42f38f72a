// q4x2: the weights in q4, and their rounding error in q4 as well.
#include <cfloat>
#include <vector>

#include "packing/pack_formats.h"
#include "packing/q4_rows.h"

namespace qwen3cpu::packing {

const float q4x2::largest = FLT_MAX / 2;

void q4x2::pack_tile(const TileRows& rows, const TilePlace& to) {
  pack_q4_tile(rows, kQuickSearch, to);
  const int cols = rows.cols();
  std::vector<float> rest(static_cast<size_t>(kTileRows) * static_cast<size_t>(cols));  // [8][cols]
  for (int r = 0; r < kTileRows; ++r)
    unpack_q4_row(to.tile, to.row_scales[r], r, cols, rest.data() + int64_t{r} * cols);
  float w[kGroup][kTileRows];
  for (int first = 0; first < cols; first += kGroup) {
    rows.columns(first, w);
    for (int i = 0; i < kGroup && first + i < cols; ++i)
      for (int r = 0; r < kTileRows; ++r) {
        float& left = rest[static_cast<size_t>(r) * static_cast<size_t>(cols) + static_cast<size_t>(first + i)];
        left = w[i][r] - left;
      }
  }
  auto* scales = reinterpret_cast<float*>(reinterpret_cast<uint8_t*>(to.row_scales) + to.second);
  pack_q4_tile(TileRows(Source::f32, rest.data(), kTileRows, cols), kQuickSearch, {to.tile + to.second, scales, 0});
}

void q4x2::unpack_row(const Matrix& w, int tile, int r, float* out) {
  const Matrix second = second_part_of(w);
  std::vector<float> more(static_cast<size_t>(w.cols));
  q4::unpack_row(first_part_of(w), tile, r, out);
  q4::unpack_row(second, tile, r, more.data());
  for (int k = 0; k < w.cols; ++k) out[k] += more[static_cast<size_t>(k)];
}

}  // namespace qwen3cpu::packing
