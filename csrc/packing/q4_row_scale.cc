// Tries some scales on the ranges of a row's groups.
#include "packing/q4_row_scale.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

#include "packing/four_rows.h"

namespace qwen3cpu::packing {
namespace {

// Scales that are tried, each by this factor smaller than the one before. The first reaches all weights, with room
// for what feedback adds to them.
constexpr float kHeadroom = 1.1f, kRatio = 0.8f;
constexpr int kTries = 16;

constexpr float kMostLevel = 7.5f;  // from the middle of the levels to the outermost ones, in steps

struct Range {
  float middle, half;

  // The step with which the levels reach all weights.
  float step() const {
    const float most = middle + half, least = middle - half;
    return std::max(half / kMostLevel, std::max(most / kQ4Above, -least / kQ4Below));
  }
};

class Row {
 public:
  Row(const float* weights, const float* importance, int cols)
      : weights_(weights), importance_(importance), cols_(cols) {
    for (int first = 0; first < cols; first += kGroup) {
      const int last = std::min(first + kGroup, cols);
      const auto [least, most] = std::minmax_element(weights + first, weights + last);
      ranges_.push_back({*most * 0.5f + *least * 0.5f, *most * 0.5f - *least * 0.5f});
      float sum = 0.0f;
      for (int i = first; i < last; ++i) sum += importance_of(i);
      sums_.push_back(sum);
    }
  }

  float widest_step() const {
    float widest = 0.0f;
    for (const Range& range : ranges_) widest = std::max(range.step(), widest);
    return widest;
  }

  // In units of `unit`, the step of scale 1: rounding moves a weight by up to half a step, all distances alike; weights
  // beyond the outermost levels are moved to them.
  float expected_error(float unit) const {
    float error = 0.0f;
    for (size_t g = 0; g < ranges_.size(); ++g) {
      const float wanted = ranges_[g].step() / unit, scale = nearest_scale(wanted);
      error += sums_[g] * scale * scale * (1.0f / 12.0f);
      if (wanted <= scale) continue;
      const float lowest = -(kQ4Below - kMostLevel) * scale, highest = (kQ4Above - kMostLevel) * scale;
      const float middle = std::min(std::max(ranges_[g].middle / unit, lowest), highest);
      const int first = static_cast<int>(g) * kGroup;
      for (int i = first; i < std::min(first + kGroup, cols_); ++i) {
        const float beyond = std::max(std::fabs(weights_[i] / unit - middle) - kMostLevel * scale, 0.0f);
        error += importance_of(i) * beyond * beyond;
      }
    }
    return error;
  }

 private:
  float importance_of(int column) const { return importance_ == nullptr ? 1.0f : importance_[column]; }

  static float nearest_scale(float scale) {
    return std::min(std::max(std::nearbyint(scale), 1.0f), static_cast<float>(kQ4MostScale));
  }

  const float *weights_, *importance_;
  int cols_;
  std::vector<float> sums_;
  std::vector<Range> ranges_;
};

}  // namespace

float q4_row_scale(const float* weights, const float* importance, int cols) {
  const Row row(weights, importance, cols);
  float unit = row.widest_step() * (kHeadroom / kQ4MostScale), best = unit;
  float least = FLT_MAX, relative = 1.0f;  // the square of unit, as a part of the first one's
  for (int i = 0; i < kTries && unit >= FLT_MIN; ++i, unit *= kRatio, relative *= kRatio * kRatio) {
    const float error = row.expected_error(unit) * relative;
    best = error < least ? unit : best;
    least = std::min(error, least);
  }
  return normal_or_zero(best / static_cast<float>(kQ4LevelParts));
}

}  // namespace qwen3cpu::packing
