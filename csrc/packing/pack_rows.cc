// Shares row tiles out to a team.
#include "packing/pack_rows.h"

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

}  // namespace qwen3cpu
