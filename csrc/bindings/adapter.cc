// pybind11: `_native.Adapter`, and the norms that DoRA divides by. Conversion and checks of shapes. No logic.
#include <pybind11/stl.h>

#include <utility>

#include "bindings/parts.h"
#include "bindings/py_model.h"
#include "engine/changed_norms.h"
#include "layout/format_names.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

Matrix optional_matrix(const std::string& name, const std::optional<MatrixEntry>& entry) {
  return entry ? to_matrix(name, *entry) : Matrix{};
}

const float* optional_floats(const std::string& name, const std::optional<Floats>& floats, int size) {
  if (!floats) return nullptr;
  if (floats->ndim() != 1 || floats->size() != size)
    throw Error("adapter: " + name + ": expected shape (" + std::to_string(size) + ",), found " + shape_text(*floats));
  return floats->data();
}

Floats norms(const MatrixEntry& matrix, const MatrixEntry& a, const Floats& b, int threads) {
  const Matrix w = to_matrix("matrix", matrix), a_t = to_matrix("a", a);
  if (a_t.rows != w.cols || b.ndim() != 2 || b.shape(0) != w.rows || b.shape(1) != a_t.cols)
    throw Error("changed_norms: expected a of " + std::to_string(w.cols) + " rows and b of shape (" +
                std::to_string(w.rows) + ", " + std::to_string(a_t.cols) + "), found " + std::to_string(a_t.rows) +
                " and " + shape_text(b));
  if (activation_of(a_t.format) != Activation::f32 || threads < 1)
    throw Error("changed_norms: expected a in f32 or bf16 and a thread, found " + std::string(format_name(a_t.format)) +
                " and " + std::to_string(threads));
  Floats out(w.rows);
  const float* from = b.data();
  float* to = out.mutable_data();
  py::gil_scoped_release release;
  changed_norms(w, a_t, from, to, threads);
  return out;
}

}  // namespace

PyAdapter::PyAdapter(std::shared_ptr<PyModel> model, std::vector<MatrixEntry> reductions,
                     std::map<std::string, ChangeEntry> changes, VectorEntries vectors,
                     std::optional<EmbeddingEntry> embedding)
    : model_(std::move(model)),
      reductions_(std::move(reductions)),
      changes_(std::move(changes)),
      vectors_(std::move(vectors)),
      embedding_(std::move(embedding)) {
  std::vector<Matrix> views;
  for (const MatrixEntry& entry : reductions_) views.push_back(to_matrix("a reduction", entry));
  const auto n = static_cast<int>(views.size());
  adapter_ = std::make_unique<Adapter>(std::move(views));
  for (const auto& [name, entry] : changes_) {
    const auto& [reduction, first, b, factor, whole] = entry;
    const Matrix w = model_->matrix(name);
    if (reduction && (*reduction < 0 || *reduction >= n || !b))
      throw Error("adapter: " + name + ": expected b and a reduction from 0 to " + std::to_string(n - 1) + ", found " +
                  std::to_string(*reduction));
    adapter_->change(name, w,
                     {reduction ? adapter_->reduction(*reduction) : nullptr, first, optional_matrix(name, b),
                      optional_floats(name, factor, w.rows), optional_matrix(name, whole)});
  }
  for (const auto& [name, whole] : vectors_) {
    const Floats& own = model_->vector(name);
    adapter_->change(own.data(), optional_floats(name, whole, static_cast<int>(own.size())));
  }
  if (!embedding_) return;
  const std::string name = "model.embed_tokens.weight";
  const auto& [a, b, factor, whole] = *embedding_;
  const Matrix w = model_->matrix(name);
  adapter_->change_embedding(w, {optional_matrix(name, whole), optional_matrix(name, a), optional_matrix(name, b),
                                 optional_floats(name, factor, w.cols)});
}

void bind_adapter(py::module_& m) {
  py::class_<PyAdapter, std::shared_ptr<PyAdapter>>(m, "Adapter")
      .def(py::init<std::shared_ptr<PyModel>, std::vector<MatrixEntry>, std::map<std::string, ChangeEntry>,
                    VectorEntries, std::optional<EmbeddingEntry>>(),
           py::arg("model"), py::arg("reductions"), py::arg("changes"), py::arg("vectors"),
           py::arg("embedding") = py::none());
  m.def("changed_norms", &norms, py::arg("matrix"), py::arg("a"), py::arg("b"), py::arg("threads"));
}

}  // namespace qwen3cpu
