// The products of a pass for tokens that have adapters. Every function is called by one thread.
//
// A token's bits do not depend on its neighbours. All sums are products of the formats f32 and bf16, and each output is
// one chain of fused multiply-adds. `y = (W x + b u) * factor` takes one addition and one multiplication.
#pragma once

#include <vector>

#include "engine/adapter.h"
#include "engine/linear.h"

namespace qwen3cpu {

// A row of floats for each token.
template <class Float>
struct Rows {
  Float* data;
  int64_t stride;
};
using TokenRows = Rows<float>;
using InputRows = Rows<const float>;

// Runs of neighbouring tokens that have the same adapter.
class AdapterRuns {
 public:
  // Tokens are added in order. adapter: null for none.
  void add_token(const Adapter* adapter);
  bool empty() const { return runs_.empty(); }
  int64_t reduced_rows() const { return reduced_rows_; }  // floats of a token's reduced input
  static constexpr int kFewTokens = 4;
  // Scratch of one thread, for embeddings and for `add`.
  static int64_t scratch_bytes(int hidden);

  // One piece of `u = a x`, for the tokens whose adapter has an a.
  struct Reduction {
    const Matrix* a;
    int first_tile, tiles;
    int first_token, tokens;
  };
  int reduction_pieces(const Readers& readers) const;
  Reduction reduction(const Readers& readers, int piece) const;
  // y = W x for a piece of the product, each token with its adapter's W.
  void multiply(const IsaTable& isa, const Matrix& w, const PreparedInput& x, const Pieces::Piece& piece, float* y,
                int64_t ldy, uint8_t* scratch) const;
  // y = (y + b u) * factor for a piece of the product.
  void add(const IsaTable& isa, const Matrix& w, const Pieces::Piece& piece, TokenRows u, float* y, int64_t ldy,
           uint8_t* scratch) const;

 private:
  struct Run {
    const Adapter* adapter;
    int first_token, end;
    int tokens() const { return end - first_token; }
  };
  template <class Body>
  void for_changes(const Matrix& w, const Pieces::Piece& piece, Body&& body) const;

  std::vector<Run> runs_;
  int tokens_ = 0;
  int64_t reduced_rows_ = 0;
  bool has_whole_matrices_ = false;
};

// Computes a piece of `u = a x`. x: inputs of the piece's tokens; u: rows of all tokens.
void reduce(const IsaTable& isa, const AdapterRuns::Reduction& piece, InputRows x, TokenRows u);

// The embedding of a token, [hidden].
void embed_token(const IsaTable& isa, const Matrix& w, const Adapter* adapter, int token, float* x, uint8_t* scratch);

}  // namespace qwen3cpu
