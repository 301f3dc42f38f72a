// An array of results whose memory is used again.
#pragma once

#include <optional>

#include "bindings/arrays.h"

namespace qwen3cpu {

// 64 rows of logits have 39 MB, and fresh memory is cleared by the system page by page. With kept memory, 64 sequences
// of the 0.6B and the 1.7B are decoded 2 % faster.
class KeptRows {
 public:
  // An uninitialised array of at least `rows` rows. It is the one of an earlier call if Python has let go of it.
  Floats take(int64_t rows, int64_t cols) {
    if (kept_ && kept_->ref_count() == 1 && kept_->shape(0) >= rows && kept_->shape(1) == cols) return *kept_;
    Floats fresh({rows, cols});
    if (rows <= kMost) kept_ = fresh;
    return fresh;
  }

 private:
  static constexpr int64_t kMost = 64;  // rows that are kept

  std::optional<Floats> kept_;
};

}  // namespace qwen3cpu
