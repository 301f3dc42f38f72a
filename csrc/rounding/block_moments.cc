#include "rounding/block_moments.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "layout/format.h"
#include "packing/four_rows.h"
#include "system/parallel.h"

namespace qwen3cpu {
namespace {

using packing::kLanes;
using packing::Rows;

// A tile of sums that stays in registers: 4 columns by 8.
constexpr int kHigh = 4;
constexpr int kWide = 2 * kLanes;

// sums[i][j] += x[t][row + i] * x[t][column + j] over all tokens, for a strip x [tokens][width] of one block.
void add_tile(const float* x, int tokens, int width, int row, int column, float* sums, int block) {
  Rows total[kHigh][2];
  for (int i = 0; i < kHigh; ++i)
    for (int j = 0; j < 2; ++j) std::memcpy(&total[i][j], sums + int64_t{row + i} * block + column + j * kLanes, 16);
  for (int t = 0; t < tokens; ++t, x += width) {
    Rows right[2];
    std::memcpy(right, x + column, sizeof(right));
    for (int i = 0; i < kHigh; ++i)
      for (int j = 0; j < 2; ++j) total[i][j] += right[j] * x[row + i];
  }
  for (int i = 0; i < kHigh; ++i)
    for (int j = 0; j < 2; ++j) std::memcpy(sums + int64_t{row + i} * block + column + j * kLanes, &total[i][j], 16);
}

// The same for the whole block. strip: scratch for its columns side by side, with a few zeros after the last.
void add_block(const float* x, int tokens, int cols, int first, int block, float* moments, float* strip) {
  const int present = std::min(block, cols - first);
  const auto width = static_cast<int>(round_up(present, kWide));
  for (int t = 0; t < tokens; ++t) {
    float* row = strip + int64_t{t} * width;
    std::fill(std::copy_n(x + int64_t{t} * cols + first, present, row), row + width, 0.0f);
  }
  for (int row = 0; row < width; row += kHigh)
    for (int column = row / kWide * kWide; column < width; column += kWide)
      add_tile(strip, tokens, width, row, column, moments, block);
}

// Factors m = R R', R upper triangular, from the last column to the first. False when m is not positive definite.
bool factor(const double* m, int n, double* r) {
  for (int j = n - 1; j >= 0; --j) {
    const double* right = r + int64_t{j} * n;
    for (int i = j; i >= 0; --i) {
      double* left = r + int64_t{i} * n;
      double sum = m[int64_t{i} * n + j];
      for (int k = j + 1; k < n; ++k) sum -= left[k] * right[k];
      if (i == j && !(sum > 0.0 && std::isfinite(sum))) return false;
      left[j] = i == j ? std::sqrt(sum) : sum / right[j];
    }
  }
  return true;
}

// inverse = r^-1, row by row from the last, because a row of the inverse is a sum of the rows after it.
void invert(const double* r, int n, double* inverse) {
  for (int i = n - 1; i >= 0; --i) {
    const double* from = r + int64_t{i} * n;
    double* row = inverse + int64_t{i} * n;
    std::fill_n(row, n, 0.0);
    for (int k = i + 1; k < n; ++k)
      for (int j = k; j < n; ++j) row[j] -= from[k] * inverse[int64_t{k} * n + j];
    for (int j = i + 1; j < n; ++j) row[j] /= from[i];
    row[i] = 1.0 / from[i];
  }
}

}  // namespace

void add_block_moments(const float* x, int tokens, int cols, int block, float* moments, int threads) {
  const int64_t strip = int64_t{tokens} * block;
  std::vector<float> strips(static_cast<size_t>(threads * strip));
  run_team(threads, [&](Team& team) {
    team.for_each(ceil_div(cols, block), [&](int b) {
      add_block(x, tokens, cols, b * block, block, moments + int64_t{b} * block * block,
                strips.data() + team.rank() * strip);
    });
  });
}

bool invert_factors(const double* matrices, int blocks, int n, float* u, int threads) {
  const int64_t size = int64_t{n} * n;
  std::vector<double> room(static_cast<size_t>(threads * 2 * size));
  std::atomic<bool> definite{true};
  run_team(threads, [&](Team& team) {
    double* r = room.data() + team.rank() * 2 * size;
    double* inverse = r + size;
    team.for_each(blocks, [&](int b) {
      if (factor(matrices + b * size, n, r)) {
        invert(r, n, inverse);
        std::transform(inverse, inverse + size, u + b * size, [](double value) { return static_cast<float>(value); });
      } else {
        definite = false;
      }
    });
  });
  return definite;
}

}  // namespace qwen3cpu
