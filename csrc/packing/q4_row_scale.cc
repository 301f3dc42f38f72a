// Looks at the range of each group.
#include "packing/q4_row_scale.h"

#include <algorithm>

#include "packing/four_rows.h"

namespace qwen3cpu::packing {
namespace {

// More costs resolution of all group scales: 1.2 gives 0.15 dB away on matrices of smolqwen3. Less cuts off weights
// that count for much: 1.0 gives 0.2 dB away, 0.9 gives 1.4.
constexpr float kHeadroom = 1.05f;

}  // namespace

float q4_row_scale(const float* weights, int cols) {
  float widest = 0.0f;
  for (int first = 0; first < cols; first += kGroup) {
    const auto [least, most] = std::minmax_element(weights + first, weights + std::min(first + kGroup, cols));
    const float range = *most * (1.0f / kQ4Range) - *least * (1.0f / kQ4Range);
    widest = std::max({widest, range, *most * (1.0f / kQ4Above), *least * (-1.0f / kQ4Below)});
  }
  return normal_or_zero(widest * (kHeadroom / (kQ4MostScale * kQ4LevelParts)));
}

}  // namespace qwen3cpu::packing
