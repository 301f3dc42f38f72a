// Passes sixteen rows at a time to the kernel, transposed, and stores the results in q4 blocks. Rows do not depend on
// each other.
#include "rounding/round_q4.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/registry.h"
#include "packing/four_rows.h"
#include "packing/q4_row_scale.h"
#include "system/parallel.h"

namespace qwen3cpu {
namespace {

// A run with its moments in the kernel's form, for weights that are side by side.
class Run {
 public:
  Run(const ColumnRun& run, const SourceRows& w, int cols)
      : run_(run),
        w_(w),
        cols_(cols),
        u_(static_cast<size_t>(run.n) * run.n),
        importance_(static_cast<size_t>(run.n)),
        inverse_diagonal_(importance_.size()) {
    const int64_t n = run.n;
    double least = run.factor[0];
    for (int64_t i = 0; i < n; ++i) least = std::fmin(least, run.factor[i * (n + 1)]);
    for (int64_t i = 0; i < n; ++i) {
      const double diagonal = run.factor[i * (n + 1)];
      for (int64_t j = i; j < n; ++j) u_[i * n + j] = static_cast<float>(run.factor[i * n + j] / diagonal);
      // The result for a column of padding does not matter.
      importance_[i] = run.to[i] < cols ? static_cast<float>(least / diagonal * (least / diagonal)) : 0.0f;
      inverse_diagonal_[i] = static_cast<float>(1.0 / diagonal);
    }
    const auto [first, last] = std::minmax_element(run.from, run.from + n);
    first_ = *first;
    present_ = std::min(*last + 1, w.cols) - first_;
  }

  // Rounds rows [first_row, first_row + 16), as far as they exist, into two row tiles at `tiles`.
  void round(int first_row, const float* row_scales, uint8_t* tiles, float* errors) const {
    alignas(64) float columns[kMostRunColumns][kRoundRows], row_scale[kRoundRows] = {};
    int8_t q[kMostRunColumns][kRoundRows];
    int8_t scale[kMostRunColumns / kGroup][kRoundRows], zero[kMostRunColumns / kGroup][kRoundRows];
    const int rows = std::min(w_.rows - first_row, kRoundRows);
    read(first_row, rows, columns);
    std::copy_n(row_scales + first_row, rows, row_scale);
    chosen_isa().ops.round_q4({run_.n, u_.data(), importance_.data()}, row_scale, columns[0], q[0], scale[0], zero[0]);
    for (int row = 0; row < rows; row += kTileRows)
      for (int g = 0; g < run_.n / kGroup; ++g)
        store(g, scale[g] + row, zero[g] + row, q + g * kGroup, row,
              tiles + row / kTileRows * tile_bytes(Format::q4, cols_));
    if (errors == nullptr) return;
    for (int lane = 0; lane < rows; ++lane)
      for (int i = 0; i < run_.n; ++i)
        errors[(int64_t{first_row} + lane) * run_.n + i] =
            run_.to[i] < cols_ ? columns[i][lane] * inverse_diagonal_[i] : 0.0f;
  }

 private:
  void read(int first_row, int rows, float (&columns)[kMostRunColumns][kRoundRows]) const {
    float row[kMostRunColumns];
    if (rows < kRoundRows) std::memset(columns, 0, sizeof(columns));
    for (int lane = 0; lane < rows; ++lane) {
      source_to_float(w_.source, w_.at(first_row + lane, first_), present_, row);
      for (int i = 0; i < run_.n; ++i) columns[i][lane] = run_.from[i] < w_.cols ? row[run_.from[i] - first_] : 0.0f;
    }
  }

  // Stores group g of the run, 8 rows from `row` on.
  void store(int g, const int8_t* scale, const int8_t* zero, const int8_t (*q)[kRoundRows], int row,
             uint8_t* tile) const {
    const int* to = run_.to + g * kGroup;
    const int8_t none[kTileRows] = {};
    const int8_t* placed[kGroup];
    for (int i = 0; i < kGroup; ++i) placed[to[i] % kGroup] = to[i] < cols_ ? q[i] + row : none;
    const int group = to[0] / kGroup;
    Q4Block& block = reinterpret_cast<Q4Block*>(tile)[group / Q4Block::kGroups];
    for (int r = 0; r < kTileRows; ++r)
      block.scale[group % Q4Block::kGroups][r] = static_cast<uint8_t>(scale[r] | (zero[r] + kQ4ZeroMiddle) << 4);
    packing::store_nibbles(placed, 0, kTileRows, block, group % Q4Block::kGroups);
  }

  const ColumnRun& run_;
  const SourceRows& w_;
  int cols_;
  std::vector<float> u_, importance_, inverse_diagonal_;
  int first_, present_;
};

float* row_scales_of(int rows, int cols, uint8_t* matrix) {
  return reinterpret_cast<float*>(matrix + row_tiles(rows) * tile_bytes(Format::q4, cols));
}

}  // namespace

void start_rounding(const SourceRows& w, uint8_t* matrix, int threads) {
  std::memset(matrix, 0, static_cast<size_t>(matrix_bytes(Format::q4, w.rows, w.cols)));
  float* row_scales = row_scales_of(w.rows, w.cols, matrix);
  run_team(threads, [&](Team& team) {
    team.for_each(row_tiles(w.rows), [&](int tile) {
      std::vector<float> weights(static_cast<size_t>(w.cols));
      for (int row = tile * kTileRows; row < std::min((tile + 1) * kTileRows, w.rows); ++row) {
        source_to_float(w.source, w.at(row, 0), w.cols, weights.data());
        row_scales[row] = packing::q4_row_scale(weights.data(), w.cols);
      }
    });
  });
}

void round_columns(const SourceRows& w, int cols, const ColumnRun& run, uint8_t* matrix, float* errors, int threads) {
  const Run rounding(run, w, cols);
  const float* row_scales = row_scales_of(w.rows, cols, matrix);
  run_team(threads, [&](Team& team) {
    team.for_each(ceil_div(w.rows, kRoundRows), [&](int i) {
      const int row = i * kRoundRows;
      rounding.round(row, row_scales, matrix + row / kTileRows * tile_bytes(Format::q4, cols), errors);
    });
  });
}

}  // namespace qwen3cpu
