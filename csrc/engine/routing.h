// The experts of each token of a pass, and the rows of each expert's tokens side by side.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace qwen3cpu {

class Routing {
 public:
  // Room for a choice of `chosen` out of `experts` for each of n_tokens.
  void reserve(int n_tokens, int experts, int chosen);
  int64_t bytes() const;

  // Where a token's choice is written: experts ascending, and their weights.
  int* experts_of(int token) { return &experts_[static_cast<size_t>(token) * static_cast<size_t>(chosen_)]; }
  float* weights_of(int token) { return &weights_[static_cast<size_t>(token) * static_cast<size_t>(chosen_)]; }
  // Sorts the choices of the first n_tokens by expert. Called by one thread when all choices are written.
  void sort(int n_tokens);

  enum Product { kGateAndUp, kDown, kProducts };
  // One expert that tokens chose: its rows are [first_row, first_row + rows) of all.
  struct Share {
    int expert;
    int first_row, rows;
    int end[kProducts];  // of the pieces of its products, among those of all shares
  };
  const std::vector<Share>& shares() const { return shares_; }  // experts ascending
  std::vector<Share>& shares() { return shares_; }
  // Number of pieces of all shares. Threads that come late to a phase may read it while `sort` runs.
  std::atomic<int> pieces[kProducts] = {1, 1};
  int token_of(int row) const { return tokens_[static_cast<size_t>(row)]; }
  // The row of the j-th expert that a token chose.
  int row_of(int token, int j) const {
    return row_of_[static_cast<size_t>(token) * static_cast<size_t>(chosen_) + static_cast<size_t>(j)];
  }

 private:
  int chosen_ = 0;
  std::vector<int> experts_;    // [tokens][chosen]
  std::vector<float> weights_;  // [tokens][chosen]
  std::vector<int> row_of_;     // [tokens][chosen]
  std::vector<int> tokens_;     // [rows]
  std::vector<int> first_;      // [experts + 1]: where the rows of an expert begin
  std::vector<Share> shares_;
};

}  // namespace qwen3cpu
