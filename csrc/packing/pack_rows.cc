// Divides row tiles among the threads of a team.
#include "packing/pack_rows.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "layout/format_names.h"
#include "system/error.h"
#include "system/parallel.h"

namespace qwen3cpu {

void pack_rows(Format format, Source source, const void* from, int rows, int cols, int first_row, int n_rows,
               uint8_t* matrix, int threads) {
  const int first_tile = first_row / kTileRows, tiles = row_tiles(n_rows);
  const int64_t tile_source_bytes = int64_t{kTileRows} * cols * source_bytes(source);
  std::vector<std::optional<Unpackable>> bad(static_cast<size_t>(tiles));
  run_team(threads, [&](Team& team) {
    team.for_each(tiles, [&](int i) {
      bad[static_cast<size_t>(i)] =
          pack_tiles(format, rows, cols, source, static_cast<const uint8_t*>(from) + i * tile_source_bytes,
                     first_tile + i, 1, matrix);
    });
  });
  for (const auto& weight : bad)
    if (weight)
      throw Error("the weight at row " + std::to_string(weight->row) + ", column " + std::to_string(weight->col) +
                  " is " + std::to_string(weight->value) + ", which the format " + format_name(format) +
                  " cannot hold");
}

void write_affine_rows(Format format, const AffineRows& from, int first_row, int n_rows, uint8_t* matrix, int threads) {
  const int tiles = row_tiles(n_rows), groups = ceil_div(from.cols, from.group);
  const int64_t bytes = tile_bytes(format, from.cols), levels = int64_t{n_rows} * from.cols;
  for (int64_t i = 0; i < int64_t{n_rows} * groups; ++i)
    if (!std::isfinite(from.scale[i]) || !std::isfinite(from.minimum[i]))
      throw Error("group " + std::to_string(i % groups) + " of row " + std::to_string(first_row + i / groups) +
                  ": expected a finite scale and minimum, found " + std::to_string(from.scale[i]) + " and " +
                  std::to_string(from.minimum[i]));
  if (std::any_of(from.n, from.n + levels, [](uint8_t n) { return n > 15; }))
    throw Error("levels: expected 0 to 15, found more");
  uint8_t* first = matrix + first_row / kTileRows * bytes;
  run_team(threads, [&](Team& team) {
    team.for_each(tiles, [&](int i) {
      const int row = i * kTileRows;
      pack_affine_tile(format, from, row, std::min(kTileRows, n_rows - row), first + i * bytes);
    });
  });
}

}  // namespace qwen3cpu
