// A model and an adapter, together with the arrays to which their views point.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/kept_rows.h"
#include "engine/model.h"

namespace qwen3cpu {

using MatrixEntry = std::tuple<std::string, int, int, Bytes>;
using MatrixEntries = std::map<std::string, MatrixEntry>;
using VectorEntries = std::map<std::string, Floats>;

// Throws Error, which names `name`, when format, size or alignment are not those of a packed matrix.
Matrix to_matrix(const std::string& name, const MatrixEntry& entry);

class PyModel {
 public:
  PyModel(const pybind11::dict& config, MatrixEntries matrices, VectorEntries vectors, const std::string& kv,
          int threads);

  Model& model() { return *model_; }
  // The model's own tensors. They throw Error for a name that the model does not have.
  Matrix matrix(const std::string& name) const;
  const Floats& vector(const std::string& name) const;
  // An uninitialised array of at least `rows` rows for results of a pass.
  Floats rows_for(Output output, int64_t rows);

 private:
  MatrixEntries matrices_;
  VectorEntries vectors_;
  KeptRows logits_, top_logits_;
  std::unique_ptr<Model> model_;
};

// One change of a matrix: number of its reduction, first row in it, b, factor, whole matrix.
using ChangeEntry =
    std::tuple<std::optional<int>, int, std::optional<MatrixEntry>, std::optional<Floats>, std::optional<MatrixEntry>>;
// The change of the embedding: a, b, factor, whole matrix.
using EmbeddingEntry = std::tuple<std::optional<MatrixEntry>, std::optional<MatrixEntry>, std::optional<Floats>,
                                  std::optional<MatrixEntry>>;

class PyAdapter {
 public:
  PyAdapter(std::shared_ptr<PyModel> model, std::vector<MatrixEntry> reductions,
            std::map<std::string, ChangeEntry> changes, VectorEntries vectors, std::optional<EmbeddingEntry> embedding);

  const std::shared_ptr<PyModel>& model() const { return model_; }
  const Adapter& adapter() const { return *adapter_; }

 private:
  std::shared_ptr<PyModel> model_;
  std::vector<MatrixEntry> reductions_;
  std::map<std::string, ChangeEntry> changes_;
  VectorEntries vectors_;
  std::optional<EmbeddingEntry> embedding_;
  std::unique_ptr<Adapter> adapter_;
};

}  // namespace qwen3cpu
