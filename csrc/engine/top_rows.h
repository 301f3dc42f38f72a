// The largest logits of a token, without the products of all rows of the head.
//
// A head in q4x2 is two matrices in q4: logits are the sums of their products. The first part's products are near them,
// so the second part is multiplied only for the row tiles whose first products reach a threshold. A row below it has a
// sum of at most the threshold and as much as the second part ever adds, which is taken as kDeviations times the root
// mean square of what it has added. Once as many sums as are wanted lie above that, they are the largest of all. Until
// then the threshold falls, and in the end every row is multiplied. All of this depends on the token's own products
// only.
#pragma once

#include <cstdint>
#include <vector>

#include "layout/format.h"

namespace qwen3cpu {

class TopRows {
 public:
  static constexpr int kFirstTiles = 128;              // that are multiplied in the first round, at least
  static constexpr int kRounds = 3;                    // and then everything
  static constexpr float kDeviations = 6.0f;           // beyond which the second part adds nothing
  static constexpr int kLeastTiles = 8 * kFirstTiles;  // of a head for which this is worth while

  // Makes room for a head whose first `tokens` rows stand for tokens, and forgets everything. The largest `wanted` are
  // to be found, 1 to kMostTop. The functions below allocate nothing.
  void reset(int tokens, int wanted);
  // Notes first products, [n_tiles][8]. Different tiles may be noted by different threads.
  void note(int first_tile, int n_tiles, const float* products);
  // Chooses the tiles of the first round, once all products are noted.
  void choose_first();
  // How many tiles have been chosen and wait for their second products, and the i-th of them.
  int waiting() const { return static_cast<int>(chosen_.size()) - settled_; }
  int waiting_tile(int i) const { return chosen_[static_cast<size_t>(settled_ + i)]; }
  // Adds the second products [8] of the i-th of them, and `more` [8], to the logits [8], in place. Different tiles may
  // be added by different threads.
  void add(int i, const float* second, const float* more, float* logits);
  // Chooses more tiles unless the largest logits are found; after the last round all that are left.
  void settle(bool last_round);
  int64_t bytes() const;
  // Tiles that no token stands in never are.
  bool is_chosen(int tile) const {
    return static_cast<size_t>(tile) < is_chosen_.size() && is_chosen_[static_cast<size_t>(tile)] != 0;
  }

 private:
  int rows_of(int tile) const;  // that stand for tokens
  void choose(float threshold);
  void choose_all();

  int tokens_ = 0;
  int wanted_ = 0;
  int settled_ = 0;  // of chosen_: those that have their second products
  float threshold_ = 0;
  std::vector<float> largest_;  // first product of each tile
  std::vector<uint8_t> is_chosen_;
  std::vector<int> chosen_;
  std::vector<float> squares_;  // of what the second part added, of each chosen tile
  std::vector<float> sums_;     // the largest logit of each chosen tile
  std::vector<float> sorted_;   // scratch
};

}  // namespace qwen3cpu
