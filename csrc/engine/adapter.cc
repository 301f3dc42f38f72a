// The changes of an adapter, by tensor.
#include "engine/adapter.h"

#include <algorithm>
#include <utility>

#include "system/error.h"

namespace qwen3cpu {
namespace {

std::string shape(const Matrix& m) { return "[" + std::to_string(m.rows) + ", " + std::to_string(m.cols) + "]"; }

void expect(bool right, const std::string& name, const std::string& expected, const Matrix& found) {
  if (!right) throw Error("adapter: " + name + ": expected " + expected + ", found " + shape(found));
}

// A whole matrix reads the input that was prepared for the model's own matrix, so both need the same form of input.
void expect_same_kind(const std::string& name, const Matrix& w, const Matrix& whole) {
  if (whole.data == nullptr) return;
  expect(whole.rows == w.rows && whole.cols == w.cols, name, "shape " + shape(w), whole);
  expect(activation_of(whole.format) == activation_of(w.format), name, "a format with the inputs of the model's own",
         whole);
}

void expect_floats(const std::string& name, const Matrix& m) {
  expect(activation_of(m.format) == Activation::f32, name, "f32 or bf16", m);
}

}  // namespace

Adapter::Adapter(std::vector<Matrix> reductions) : reductions_(std::move(reductions)) {
  for (const Matrix& a : reductions_) {
    expect_floats("a reduction", a);
    reduced_rows_ = std::max(reduced_rows_, padded_rows(a.rows));
  }
}

const MatrixChange* Adapter::change_of(const Matrix& w) const {
  const auto found = matrices_.find(w.data);
  return found == matrices_.end() ? nullptr : &found->second;
}

const float* Adapter::vector_of(const float* vector) const {
  const auto found = vectors_.find(vector);
  return found == vectors_.end() ? vector : found->second;
}

void Adapter::change(const std::string& name, const Matrix& w, const MatrixChange& change) {
  expect_same_kind(name, w, change.whole);
  if (change.reduction != nullptr) {
    const Matrix& a = *change.reduction;
    expect(a.cols == w.cols, name, "a reduction of " + std::to_string(w.cols) + " columns", a);
    expect(change.b.rows == w.rows, name, "b of " + std::to_string(w.rows) + " rows", change.b);
    expect(change.first >= 0 && change.first % kTileRows == 0 && change.first + change.b.cols <= a.rows, name,
           "rows within those of its reduction", a);
    expect_floats(name, change.b);
  }
  has_whole_matrices_ |= change.whole.data != nullptr;
  matrices_[w.data] = change;
}

void Adapter::change_embedding(const Matrix& w, const EmbeddingChange& change) {
  const std::string name = "the embedding";
  if (change.whole.data != nullptr)
    expect(change.whole.rows == w.rows && change.whole.cols == w.cols, name, "shape " + shape(w), change.whole);
  if (change.a.data != nullptr) {
    expect(change.a.rows == w.rows, name, "a of " + std::to_string(w.rows) + " rows", change.a);
    expect(change.b.rows == w.cols && change.b.cols == change.a.cols, name,
           "b of shape [" + std::to_string(w.cols) + ", " + std::to_string(change.a.cols) + "]", change.b);
    expect_floats(name, change.b);
    expect(change.a.cols <= kMostRank, name, "a rank of at most " + std::to_string(kMostRank), change.a);
  }
  embedding_ = change;
}

}  // namespace qwen3cpu
