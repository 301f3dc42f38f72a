// Chooses the rows of the head whose logits may be the largest.
#include "engine/top_rows.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "engine/batch.h"

namespace qwen3cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
// The first threshold is searched in steps below the largest product.
constexpr int kSteps = 1024;
constexpr float kStepsInOne = 16.0f;
// The threshold falls by this many deviations more than necessary, because more tiles change the root mean square a
// little.
constexpr float kSlack = 0.5f;

}  // namespace

int TopRows::rows_of(int tile) const { return std::clamp(tokens_ - tile * kTileRows, 0, kTileRows); }

void TopRows::reset(int tokens, int wanted) {
  static_assert(kMostTop <= kFirstTiles);
  tokens_ = tokens;
  wanted_ = wanted;
  settled_ = 0;
  const auto tiles = static_cast<size_t>(row_tiles(tokens));
  largest_.resize(tiles);
  is_chosen_.assign(tiles, 0);
  chosen_.clear();
  chosen_.reserve(tiles);
  squares_.resize(tiles);
  sums_.resize(tiles);
  sorted_.resize(tiles);
}

int64_t TopRows::bytes() const {
  const size_t floats = largest_.size() + squares_.size() + sums_.size() + sorted_.size();
  return static_cast<int64_t>(floats * sizeof(float) + chosen_.capacity() * sizeof(int) + is_chosen_.size());
}

void TopRows::note(int first_tile, int n_tiles, const float* products) {
  const int end = std::min(first_tile + n_tiles, static_cast<int>(largest_.size()));
  for (int tile = first_tile; tile < end; ++tile, products += kTileRows) {
    float largest = kNothing;
    bool number = true;
    for (int r = 0; r < rows_of(tile); ++r) {
      largest = products[r] > largest ? products[r] : largest;
      number &= products[r] == products[r];
    }
    largest_[static_cast<size_t>(tile)] = number ? largest : std::numeric_limits<float>::quiet_NaN();
  }
}

void TopRows::choose_first() {
  float most = kNothing;
  for (const float each : largest_) {
    if (std::isnan(each) || each == -kNothing) return choose_all();
    most = std::max(most, each);
  }
  int counts[kSteps] = {};
  for (const float each : largest_) {
    const float steps = (most - each) * kStepsInOne;
    ++counts[steps < float{kSteps} ? static_cast<int>(steps) : kSteps - 1];
  }
  int count = 0;
  for (int i = 0; i < kSteps - 1; ++i) {
    count += counts[i];
    if (count >= kFirstTiles) return choose(most - static_cast<float>(i + 1) / kStepsInOne);
  }
  choose_all();
}

void TopRows::choose(float threshold) {
  threshold_ = threshold;
  const auto most = largest_.size() / 2;
  for (size_t tile = 0; tile < largest_.size(); ++tile) {
    if (is_chosen_[tile] != 0 || !(largest_[tile] >= threshold)) continue;
    if (chosen_.size() == most) return choose_all();
    is_chosen_[tile] = 1;
    chosen_.push_back(static_cast<int>(tile));
  }
}

void TopRows::choose_all() {
  threshold_ = kNothing;
  for (size_t tile = 0; tile < largest_.size(); ++tile) {
    if (is_chosen_[tile] != 0) continue;
    is_chosen_[tile] = 1;
    chosen_.push_back(static_cast<int>(tile));
  }
}

void TopRows::add(int i, const float* second, const float* more, float* logits) {
  const auto place = static_cast<size_t>(settled_ + i);
  float squares = 0, largest = kNothing;
  for (int r = 0; r < kTileRows; ++r) logits[r] = logits[r] + second[r] + more[r];
  for (int r = 0; r < rows_of(chosen_[place]); ++r) {
    const float added = second[r] + more[r];
    squares += added * added;
    largest = logits[r] > largest ? logits[r] : largest;
  }
  squares_[place] = squares;
  sums_[place] = largest;
}

void TopRows::settle(bool last_round) {
  settled_ = static_cast<int>(chosen_.size());
  const size_t n = chosen_.size();
  if (threshold_ == kNothing) return;
  double squares = 0;
  for (size_t i = 0; i < n; ++i) squares += static_cast<double>(squares_[i]);
  const float deviation = static_cast<float>(std::sqrt(squares / static_cast<double>(n * kTileRows)));
  // `wanted_` tiles have a logit at least as large as *last.
  std::copy_n(sums_.begin(), n, sorted_.begin());
  const auto last = sorted_.begin() + (wanted_ - 1);
  std::nth_element(sorted_.begin(), last, sorted_.begin() + static_cast<std::ptrdiff_t>(n), std::greater<>());
  if (threshold_ + kDeviations * deviation <= *last) return;
  if (last_round || !std::isfinite(deviation) || !std::isfinite(*last)) return choose_all();
  choose(*last - (kDeviations + kSlack) * deviation);
}

}  // namespace qwen3cpu
