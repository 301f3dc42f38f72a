// A team divides the rows among its threads. b a is a product of the formats f32 and bf16.
#include "engine/changed_norms.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/registry.h"
#include "packing/pack.h"
#include "system/parallel.h"

namespace qwen3cpu {
namespace {

constexpr int kRows = 16;
constexpr int kLanes = 8;

// The sum is in double: lane j adds columns j mod 8 in ascending order, then the tree of RmsNormFn
// (csrc/kernels/table.h).
float norm(const float* row, const float* change, int n) {
  double lane[kLanes] = {};
  for (int i = 0; i < n; ++i) {
    const double x = double{row[i]} + double{change[i]};
    lane[i % kLanes] += x * x;
  }
  const double sum = ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
  return static_cast<float>(std::sqrt(sum));
}

}  // namespace

void changed_norms(const Matrix& w, const Matrix& a_t, const float* b, float* norms, int threads) {
  const IsaTable& isa = chosen_isa();
  const int64_t stride = padded_rows(a_t.rows);
  const int64_t floats = kRows * stride + w.cols;  // the change of some rows, and one row
  std::vector<float> room(static_cast<size_t>(floats * threads));
  run_team(threads, [&](Team& team) {
    team.for_each(ceil_div(w.rows, kRows), [&](int i) {
      const int first = i * kRows, rows = std::min(kRows, w.rows - first);
      float* change = room.data() + team.rank() * floats;
      float* row = change + kRows * stride;
      Activations x;
      x.f32 = b;
      x.stride = a_t.cols;
      isa.formats[static_cast<int>(a_t.format)].matmul(a_t, 0, a_t.tiles(), x, first, rows, change, stride, nullptr);
      for (int j = 0; j < rows; ++j) {
        row_to_float(w, first + j, row);
        norms[first + j] = norm(row, change + j * stride, w.cols);
      }
    });
  });
}

}  // namespace qwen3cpu
