// Finds the largest logits of a token without all products of the head.
//
// A head in q4x2 is two matrices in q4, and a logit is the sum of their products. The first product is close to the
// logit, so the second part is multiplied only for the row tiles whose first products reach a threshold.
//
// A row below the threshold is assumed to stay below a bound: the threshold plus kDeviations times the root mean square
// of the second products so far. Once as many logits as are wanted reach this bound, they are the largest of all. Until
// then the threshold falls, and in the end every row is multiplied. All of this depends on the token's own products
// only.
#pragma once

#include <cstdint>
#include <vector>

#include "layout/format.h"

namespace qwen3cpu {

class TopRows {
 public:
  static constexpr int kFirstTiles = 128;              // least number of tiles in the first round
  static constexpr int kRounds = 3;                    // after these all tiles are multiplied
  static constexpr float kDeviations = 6.0f;           // the second part is assumed to add at most this many
  static constexpr int kLeastTiles = 8 * kFirstTiles;  // size of the smallest head for which this pays

  // Clears everything and makes room for a head whose first `tokens` rows stand for tokens. wanted: number of largest
  // logits to find, 1 to kMostTop. The functions below allocate nothing.
  void reset(int tokens, int wanted);
  // Notes first products, [n_tiles][8]. Different tiles may be noted by different threads.
  void note(int first_tile, int n_tiles, const float* products);
  // Chooses the tiles of the first round, once all products are noted.
  void choose_first();
  // The number of chosen tiles that wait for their second products, and the i-th of them.
  int waiting() const { return static_cast<int>(chosen_.size()) - settled_; }
  int waiting_tile(int i) const { return chosen_[static_cast<size_t>(settled_ + i)]; }
  // Adds the second products [8] of the i-th waiting tile, and `more` [8], to the logits [8], in place. Different tiles
  // may be added by different threads.
  void add(int i, const float* second, const float* more, float* logits);
  // Chooses more tiles unless the largest logits are found. After the last round it chooses all remaining tiles.
  void settle(bool last_round);
  int64_t bytes() const;
  // Whether a tile has been chosen. Tiles without a token's row never are.
  bool is_chosen(int tile) const {
    return static_cast<size_t>(tile) < is_chosen_.size() && is_chosen_[static_cast<size_t>(tile)] != 0;
  }

 private:
  int rows_of(int tile) const;  // number of rows of a tile that stand for tokens
  void choose(float threshold);
  void choose_all();

  int tokens_ = 0;
  int wanted_ = 0;
  int settled_ = 0;  // of chosen_: those that have their second products
  float threshold_ = 0;
  std::vector<float> largest_;  // the largest first product of each tile
  std::vector<uint8_t> is_chosen_;
  std::vector<int> chosen_;
  std::vector<float> squares_;  // sum of squared second products of each chosen tile
  std::vector<float> sums_;     // the largest logit of each chosen tile
  std::vector<float> sorted_;   // scratch
};

}  // namespace qwen3cpu
