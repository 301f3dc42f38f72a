// q4a: sixteen levels from the least weight of a group to the largest. Levels of other quantisers are written
// unchanged.
#include <cfloat>
#include <cmath>
#include <cstring>

#include "packing/pack_affine.h"
#include "packing/pack_formats.h"

namespace qwen3cpu {
namespace packing {
namespace {

constexpr float kTop = 15.0f;  // the highest level

// x with subnormals flushed to zero, as in the kernels.
float flushed(float x) { return std::fabs(x) >= FLT_MIN ? x : 0.0f; }

template <int G>
void store(Q4aBlock<G>& block, int k, int r, int n) {
  uint8_t& two = block.q[k / kGroup][k % 16 / 4][r][k % 4];
  two = static_cast<uint8_t>(two | n << (k % kGroup < 16 ? 0 : 4));
}

template <int G>
int load(const Q4aBlock<G>& block, int k, int r) {
  const int two = block.q[k / kGroup][k % 16 / 4][r][k % 4];
  return k % kGroup < 16 ? two & 15 : two >> 4;
}

template <int G>
void pack_group(const float (&w)[G][kTileRows], int n, int first, Q4aBlock<G>& block) {
  for (int r = 0; r < kTileRows; ++r) {
    float low = w[0][r], high = w[0][r];
    for (int i = 1; i < n; ++i) {
      low = std::fmin(low, w[i][r]);
      high = std::fmax(high, w[i][r]);
    }
    const float scale = flushed((high - low) / kTop);
    block.scale[first / G][r] = scale;
    block.minimum[first / G][r] = flushed(low);
    for (int i = 0; i < n; ++i) {
      const float level = scale > 0.0f ? std::nearbyint((w[i][r] - low) / scale) : 0.0f;
      store(block, first + i, r, static_cast<int>(std::fmin(level, kTop)));
    }
  }
}

template <int G>
void pack_rows_of_tile(const TileRows& rows, uint8_t* tile) {
  std::memset(tile, 0, static_cast<size_t>(tile_bytes_of<Q4aBlock<G>>(rows.cols())));
  auto* blocks = reinterpret_cast<Q4aBlock<G>*>(tile);
  float w[G][kTileRows];
  for (int k = 0; k < rows.cols(); k += G) {
    const int n = rows.cols() - k < G ? rows.cols() - k : G;
    for (int i = 0; i < n; i += kGroup) rows.columns(k + i, *reinterpret_cast<float (*)[kGroup][kTileRows]>(w[i]));
    pack_group<G>(w, n, k % Q4aBlock<G>::kCols, blocks[k / Q4aBlock<G>::kCols]);
  }
}

template <int G>
void unpack_row_of_tile(const Matrix& w, int tile, int r, float* out) {
  const auto* blocks = reinterpret_cast<const Q4aBlock<G>*>(w.tile(tile));
  for (int k = 0; k < w.cols; ++k) {
    const Q4aBlock<G>& block = blocks[k / Q4aBlock<G>::kCols];
    const int at = k % Q4aBlock<G>::kCols;
    out[k] = std::fma(block.scale[at / G][r], static_cast<float>(load(block, at, r)), block.minimum[at / G][r]);
  }
}

template <int G>
void write_tile(const AffineRows& rows, int first_row, int n_rows, uint8_t* tile) {
  std::memset(tile, 0, static_cast<size_t>(tile_bytes_of<Q4aBlock<G>>(rows.cols)));
  auto* blocks = reinterpret_cast<Q4aBlock<G>*>(tile);
  const int64_t groups = ceil_div(rows.cols, rows.group);
  for (int r = 0; r < n_rows; ++r) {
    const int64_t row = first_row + r;
    for (int k = 0; k < rows.cols; ++k) {
      Q4aBlock<G>& block = blocks[k / Q4aBlock<G>::kCols];
      const int at = k % Q4aBlock<G>::kCols;
      if (k % G == 0) {
        block.scale[at / G][r] = flushed(rows.scale[row * groups + k / rows.group]);
        block.minimum[at / G][r] = flushed(rows.minimum[row * groups + k / rows.group]);
      }
      store(block, at, r, rows.n[row * rows.cols + k]);
    }
  }
}

}  // namespace

#define SIZE(G)                                                                                              \
  const float q4a##G::largest = FLT_MAX / 2;                                                                 \
  void q4a##G::pack_tile(const TileRows& rows, const TilePlace& to) { pack_rows_of_tile<G>(rows, to.tile); } \
  void q4a##G::unpack_row(const Matrix& w, int tile, int r, float* out) { unpack_row_of_tile<G>(w, tile, r, out); }
SIZE(32)
SIZE(64)
SIZE(128)
#undef SIZE

}  // namespace packing

void pack_affine_tile(Format format, const AffineRows& rows, int first_row, int n_rows, uint8_t* tile) {
  if (format == Format::q4a32) packing::write_tile<32>(rows, first_row, n_rows, tile);
  if (format == Format::q4a64) packing::write_tile<64>(rows, first_row, n_rows, tile);
  if (format == Format::q4a128) packing::write_tile<128>(rows, first_row, n_rows, tile);
}

}  // namespace qwen3cpu
