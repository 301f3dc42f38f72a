// Adapters: changes of a model for some of the tokens of a pass. Views only: the caller keeps the arrays.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "layout/tensor.h"

namespace qwen3cpu {

// The largest rank of an embedding's change.
inline constexpr int kMostRank = 256;

// An adapter's change of a matrix W: `y = factor * (W x + b u)`. u is a part of the product of the reduction and W's
// input x, and begins `first` rows into it.
struct MatrixChange {
  const Matrix* reduction = nullptr;  // null: no b
  int first = 0;
  Matrix b;                       // [rows, rank]
  const float* factor = nullptr;  // [rows], null: 1
  Matrix whole;                   // replaces W unless its data is null
};

// An adapter's change of the embedding: row t is factor * (W_t + b a_t).
struct EmbeddingChange {
  Matrix whole;                   // replaces W unless its data is null
  Matrix a;                       // [vocab, rank]; data null: no b
  Matrix b;                       // [hidden, rank]
  const float* factor = nullptr;  // [hidden], null: 1
};

class Adapter {
 public:
  // reductions: [rows, columns of an input] each. Matrices that read the same input share one reduction, which holds
  // the rows of all of them. The rows of each matrix begin at a multiple of 8.
  explicit Adapter(std::vector<Matrix> reductions);
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  const Matrix* reduction(int i) const { return &reductions_[static_cast<size_t>(i)]; }
  // The changes. Where it changes nothing, each returns null or its argument. Tensors are identified by the address of
  // their data.
  const MatrixChange* change_of(const Matrix& w) const;
  const float* vector_of(const float* vector) const;
  const EmbeddingChange& embedding() const { return embedding_; }
  bool has_whole_matrices() const { return has_whole_matrices_; }
  int64_t reduced_rows() const { return reduced_rows_; }  // of the largest reduction, in whole row tiles

  // Called while the adapter is made. They throw Error, which names `name`, for a change that does not fit.
  void change(const std::string& name, const Matrix& w, const MatrixChange& change);
  void change(const float* vector, const float* whole) { vectors_[vector] = whole; }
  void change_embedding(const Matrix& w, const EmbeddingChange& change);

 private:
  std::vector<Matrix> reductions_;
  std::unordered_map<const void*, MatrixChange> matrices_;
  std::unordered_map<const float*, const float*> vectors_;
  EmbeddingChange embedding_;
  bool has_whole_matrices_ = false;
  int64_t reduced_rows_ = 0;
};

}  // namespace qwen3cpu
