// Counting sort of the choices by expert; an expert's tokens stay in order.
#include "engine/routing.h"

#include <algorithm>

namespace qwen3cpu {

void Routing::reserve(int n_tokens, int experts, int chosen) {
  chosen_ = chosen;
  const size_t rows = static_cast<size_t>(n_tokens) * static_cast<size_t>(chosen);
  if (experts_.size() < rows) {
    experts_.resize(rows);
    weights_.resize(rows);
    row_of_.resize(rows);
    tokens_.resize(rows);
  }
  first_.resize(static_cast<size_t>(experts) + 1);
  shares_.reserve(static_cast<size_t>(experts));
}

int64_t Routing::bytes() const {
  const size_t ints = experts_.capacity() + row_of_.capacity() + tokens_.capacity() + first_.capacity();
  return static_cast<int64_t>(ints * sizeof(int) + weights_.capacity() * sizeof(float) +
                              shares_.capacity() * sizeof(Share));
}

void Routing::sort(int n_tokens) {
  const int rows = n_tokens * chosen_;
  std::fill(first_.begin(), first_.end(), 0);
  for (int i = 0; i < rows; ++i) ++first_[static_cast<size_t>(experts_[static_cast<size_t>(i)]) + 1];
  shares_.clear();
  for (size_t e = 0; e + 1 < first_.size(); ++e) {
    if (first_[e + 1] > 0) shares_.push_back({static_cast<int>(e), first_[e], first_[e + 1], {}});
    first_[e + 1] += first_[e];
  }
  for (int i = 0; i < rows; ++i) {
    const int row = first_[static_cast<size_t>(experts_[static_cast<size_t>(i)])]++;
    row_of_[static_cast<size_t>(i)] = row;
    tokens_[static_cast<size_t>(row)] = i / chosen_;
  }
}

}  // namespace qwen3cpu
