// Four rows at a time, whose arithmetic does not depend on the other rows or on the threads.
#include "round_q4.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "q4_rows.h"

namespace qwen3cpu {
namespace {

using packing::kLanes;
using packing::Rows;

// Of 127: the largest group scale of a row that the search can ask for before feedback, which may enlarge its weights.
constexpr float kHeadroom = 0.75f;

// -1/c for the extreme weight, as in pack_q4.cc, up to 20: where moments differ much, an extreme weight of an input
// that hardly matters is cut off. Against 5.5 to 9, as there, that takes 2 % from the loss of a 135M model's matrices,
// 17 % from that of its last down_proj; steps a third as wide or both signs bring less than 0.5 %.
constexpr float kFirstLevel = 5.0f;
constexpr float kLevelRatio = 1.05f;
constexpr int kLevels = 29;

constexpr Rows kOnes = {1, 1, 1, 1};

// A group's part of the factor: U [32][32] with rows `stride` apart, 1 / U_ii.
struct GroupFactor {
  const float* u;
  int64_t stride;
  float inverse_diagonal[kGroup];
};

struct Rounded {
  Rows q[kGroup];
  Rows error[kGroup];
};

// Rounds a group with a given step (0: to zeros) and returns its loss.
Rows round_group(const Rows (&weights)[kGroup], const GroupFactor& factor, Rows step, Rounded& out) {
  Rows w[kGroup];
  std::memcpy(w, weights, sizeof(w));
  const Rows zero = {};
  const Rows inverse = step == zero ? zero : kOnes / step;
  Rows loss = {};
  for (int i = 0; i < kGroup; ++i) {
    const Rows q = packing::quantize(w[i], inverse);
    const Rows error = (w[i] - q * step) * factor.inverse_diagonal[i];
    const float* u = factor.u + i * factor.stride;
    for (int j = i + 1; j < kGroup; ++j) w[j] -= error * u[j];
    loss += error * error;
    out.q[i] = q;
    out.error[i] = error;
  }
  return loss;
}

Rows extreme_of(const Rows (&w)[kGroup]) {
  Rows extreme = {};
  for (const Rows& x : w) extreme = packing::max(x, -x) > packing::max(extreme, -extreme) ? x : extreme;
  return extreme;
}

// The integer scale (-127..127) of least loss among those that levels for the extreme weight give, and their
// neighbours.
Rows search_scale(const Rows (&w)[kGroup], const GroupFactor& factor, Rows row_scale) {
  const Rows zero = {}, most = kOnes * 127.0f;
  const Rows inverse_row_scale = row_scale > zero ? kOnes / row_scale : zero;
  const Rows extreme = extreme_of(w) * inverse_row_scale;
  const Rows sign = extreme > zero ? -kOnes : kOnes;
  Rounded rounded;
  Rows best = zero, best_loss = round_group(w, factor, zero, rounded);
  const auto attempt = [&](Rows magnitude) {
    const Rows scale = sign * packing::max(packing::min(packing::round_to_integer(magnitude), most), zero);
    const Rows loss = round_group(w, factor, scale * row_scale, rounded);
    best = loss < best_loss ? scale : best;
    best_loss = packing::min(loss, best_loss);
  };
  float level = kFirstLevel;
  for (int i = 0; i < kLevels; ++i, level *= kLevelRatio) attempt(packing::max(extreme, -extreme) * (1.0f / level));
  const Rows centre = packing::max(best, -best);
  for (float delta : {-1.0f, 1.0f}) attempt(centre + kOnes * delta);
  return best;
}

class Run {
 public:
  Run(const ColumnRun& run, int cols) : run_(run), cols_(cols), factors_(static_cast<size_t>(run.n / kGroup)) {
    for (int g = 0; g < run.n / kGroup; ++g) {
      GroupFactor& factor = factors_[static_cast<size_t>(g)];
      factor.u = run.factor + int64_t{g} * kGroup * (run.n + 1);
      factor.stride = run.n;
      for (int i = 0; i < kGroup; ++i) factor.inverse_diagonal[i] = 1.0f / factor.u[i * (run.n + 1)];
    }
  }

  // Rows [first_row, first_row + 4) of a tile; w and errors are those of their first row, `rows` of which exist.
  void round(const float* w, int64_t stride, int rows, Rows row_scale, uint8_t* tile, int first_row,
             float* errors) const {
    Rows columns[kMostRunColumns] = {};
    for (int lane = 0; lane < rows; ++lane)
      for (int i = 0; i < run_.n; ++i) columns[i][lane] = w[lane * stride + i];
    for (int g = 0; g < run_.n / kGroup; ++g) {
      const GroupFactor& factor = factors_[static_cast<size_t>(g)];
      auto& own = reinterpret_cast<Rows(&)[kGroup]>(columns[g * kGroup]);
      const Rows scale = search_scale(own, factor, row_scale);
      Rounded rounded;
      round_group(own, factor, scale * row_scale, rounded);
      for (int i = 0; i < kGroup; ++i) {
        const float* u = factor.u + i * factor.stride - g * kGroup;
        for (int j = (g + 1) * kGroup; j < run_.n; ++j) columns[j] -= rounded.error[i] * u[j];
      }
      store(g, scale, rounded.q, tile, first_row);
      for (int lane = 0; lane < rows; ++lane)
        for (int i = 0; i < kGroup; ++i) errors[lane * int64_t{run_.n} + g * kGroup + i] = rounded.error[i][lane];
    }
  }

 private:
  void store(int g, Rows scale, const Rows (&q)[kGroup], uint8_t* tile, int first_row) const {
    const int* places = run_.columns + g * kGroup;
    Rows placed[kGroup];
    for (int i = 0; i < kGroup; ++i) placed[places[i] % kGroup] = places[i] < cols_ ? q[i] : Rows{};
    const int group = places[0] / kGroup;
    packing::store_group(scale, placed, first_row, reinterpret_cast<Q4Block*>(tile)[group / Q4Block::kGroups],
                         group % Q4Block::kGroups);
  }

  const ColumnRun& run_;
  int cols_;
  std::vector<GroupFactor> factors_;
};

float* row_scales_of(int rows, int cols, uint8_t* matrix) {
  return reinterpret_cast<float*>(matrix + row_tiles(rows) * tile_bytes(Format::q4, cols));
}

}  // namespace

void start_rounding(const float* w, int rows, int cols, uint8_t* matrix) {
  std::memset(matrix, 0, static_cast<size_t>(matrix_bytes(Format::q4, rows, cols)));
  float* row_scales = row_scales_of(rows, cols, matrix);
  for (int r = 0; r < rows; ++r) {
    float largest = 0.0f;
    for (int i = 0; i < cols; ++i) largest = std::fmax(largest, std::fabs(w[int64_t{r} * cols + i]));
    row_scales[r] = packing::row_scale_of(largest / (kFirstLevel * kHeadroom));
  }
}

void round_columns(const float* w, int64_t stride, int rows, int cols, const ColumnRun& run, uint8_t* matrix,
                   float* errors, int threads) {
  const Run rounding(run, cols);
  const float* row_scales = row_scales_of(rows, cols, matrix);
  run_team(threads, [&](Team& team) {
    team.for_each(row_tiles(rows) * (kTileRows / kLanes), [&](int i) {
      const int row = i * kLanes, present = std::clamp(rows - row, 0, kLanes);
      const Rows row_scale = {row_scales[row], row_scales[row + 1], row_scales[row + 2], row_scales[row + 3]};
      rounding.round(w + row * stride, stride, present, row_scale,
                     matrix + row / kTileRows * tile_bytes(Format::q4, cols), row % kTileRows,
                     errors + int64_t{row} * run.n);
    });
  });
}

}  // namespace qwen3cpu
