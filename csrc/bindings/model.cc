// pybind11: `_native.Model`. Conversion, the GIL and exceptions. No logic.
#include "engine/model.h"

#include <pybind11/stl.h>

#include <map>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>
#include <variant>

#include "bindings/arrays.h"
#include "bindings/parts.h"
#include "bindings/py_model.h"
#include "layout/format_names.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

template <class T>
T item(const py::dict& config, const char* key) {
  if (!config.contains(key)) throw Error(std::string("config: missing ") + key);
  try {
    return config[key].cast<T>();
  } catch (const py::cast_error&) {
    throw Error(std::string("config: ") + key + " has the value " + std::string(py::repr(config[key])));
  }
}

Experts to_experts(const py::dict& d) {
  Experts e;
  e.count = item<int>(d, "count");
  e.chosen = item<int>(d, "chosen");
  e.width = item<int>(d, "width");
  e.normalised = item<bool>(d, "normalised");
  e.fetched = d.contains("fetched") && item<bool>(d, "fetched");
  e.dense_layers = item<std::vector<int>>(d, "dense_layers");
  return e;
}

Config to_config(const py::dict& d) {
  Config c;
  c.hidden_size = item<int>(d, "hidden_size");
  c.intermediate_size = item<int>(d, "intermediate_size");
  c.num_hidden_layers = item<int>(d, "num_hidden_layers");
  c.num_attention_heads = item<int>(d, "num_attention_heads");
  c.num_key_value_heads = item<int>(d, "num_key_value_heads");
  c.head_dim = item<int>(d, "head_dim");
  c.vocab_size = item<int>(d, "vocab_size");
  c.tokens = item<int>(d, "tokens");
  c.rms_norm_eps = item<float>(d, "rms_norm_eps");
  c.rope_scale = item<float>(d, "rope_scale");
  c.context = item<int>(d, "context");
  c.int16_inputs = item<bool>(d, "int16_inputs");
  if (d.contains("experts")) c.experts = to_experts(d["experts"].cast<py::dict>());
  const auto inv_freq = item<Floats>(d, "inv_freq");
  c.inv_freq.assign(inv_freq.data(), inv_freq.data() + inv_freq.size());
  validate(c);
  return c;
}

}  // namespace

Matrix to_matrix(const std::string& name, const MatrixEntry& entry) {
  const auto& [format, rows, cols, data] = entry;
  Matrix m{parse_format(format), rows, cols, data.data()};
  if (rows < 1 || cols < 1)
    throw Error(name + ": expected positive sizes, found " + std::to_string(rows) + " x " + std::to_string(cols));
  const int64_t expected = matrix_bytes(m.format, rows, cols);
  if (data.size() != expected)
    throw Error(name + ": expected " + std::to_string(expected) + " packed bytes, found " +
                std::to_string(data.size()));
  if (reinterpret_cast<uintptr_t>(m.data) % kCacheLine != 0) throw Error(name + ": packed data is not 64-byte aligned");
  return m;
}

namespace {

Weights to_weights(const Config& config, const MatrixEntries& matrices, const VectorEntries& vectors) {
  std::map<std::string, Matrix> views;
  for (const auto& [name, entry] : matrices) views.emplace(name, to_matrix(name, entry));
  std::map<std::string, Vector> vector_views;
  for (const auto& [name, data] : vectors) vector_views.emplace(name, Vector{data.data(), data.size()});
  return collect_weights(config, Tensors(views, vector_views));
}

}  // namespace

PyModel::PyModel(const py::dict& config, MatrixEntries matrices, VectorEntries vectors, const std::string& kv,
                 int threads)
    : matrices_(std::move(matrices)), vectors_(std::move(vectors)) {
  const Config c = to_config(config);
  model_ = std::make_unique<Model>(c, to_weights(c, matrices_, vectors_), parse_kv_format(kv), threads);
}

Matrix PyModel::matrix(const std::string& name) const {
  const auto found = matrices_.find(name);
  if (found == matrices_.end()) throw Error("adapter: expected a matrix of the model, found " + name);
  return to_matrix(name, found->second);
}

const Floats& PyModel::vector(const std::string& name) const {
  const auto found = vectors_.find(name);
  if (found == vectors_.end()) throw Error("adapter: expected a vector of the model, found " + name);
  return found->second;
}

Floats PyModel::rows_for(Output output, int64_t rows) {
  if (output == Output::hidden) return Floats({rows, int64_t{model_->config().hidden_size}});
  return (output == Output::logits ? logits_ : top_logits_).take(rows, model_->logits_stride());
}

namespace {

std::vector<int> to_vector(const Ints& a, const char* what) {
  if (a.ndim() != 1) throw Error(std::string(what) + ": expected a 1-D int32 array, found shape " + shape_text(a));
  return {a.data(), a.data() + a.size()};
}

using LogitsItem = std::tuple<std::shared_ptr<Sequence>, Ints, Ints>;
using AnyItem = std::tuple<std::shared_ptr<Sequence>, Ints, Ints, std::string>;
using AdaptedItem = std::tuple<std::shared_ptr<Sequence>, Ints, Ints, std::string, std::shared_ptr<PyAdapter>, int>;
using Item = std::variant<AdaptedItem, AnyItem, LogitsItem>;

Output parse_output(const std::string& name) {
  if (name == "logits") return Output::logits;
  if (name == "hidden") return Output::hidden;
  if (name == "top_logits") return Output::top_logits;
  throw Error("forward: expected the output logits, top_logits or hidden, found " + name);
}

BatchItem to_item(PyModel& self, const Item& item) {
  const auto make = [](const std::shared_ptr<Sequence>& sequence, const Ints& tokens, const Ints& wanted,
                       Output output) {
    if (sequence == nullptr) throw Error("forward: a sequence is None");
    return BatchItem{sequence, to_vector(tokens, "tokens"), to_vector(wanted, "wanted"), output};
  };
  if (const auto* adapted = std::get_if<AdaptedItem>(&item)) {
    const auto& [sequence, tokens, wanted, output, adapter, top] = *adapted;
    BatchItem made = make(sequence, tokens, wanted, parse_output(output));
    if (top < 1 || top > kMostTop)
      throw Error("forward: expected the largest 1 to " + std::to_string(kMostTop) + " logits, found " +
                  std::to_string(top));
    made.top = top;
    if (adapter == nullptr) return made;
    if (adapter->model().get() != &self) throw Error("forward: an adapter belongs to another model");
    made.adapter = std::shared_ptr<const Adapter>(adapter, &adapter->adapter());
    return made;
  }
  if (const auto* any = std::get_if<AnyItem>(&item))
    return make(std::get<0>(*any), std::get<1>(*any), std::get<2>(*any), parse_output(std::get<3>(*any)));
  const auto& [sequence, tokens, wanted] = std::get<LogitsItem>(item);
  return make(sequence, tokens, wanted, Output::logits);
}

// The first `cols` columns of rows [first, first + n), without a copy.
Floats part_of(const Floats& rows, int64_t first, int64_t n, int64_t cols) {
  return Floats({n, cols}, {rows.strides(0), int64_t{4}}, rows.data() + first * rows.shape(1), rows);
}

std::vector<Floats> forward(PyModel& self, const std::vector<Item>& batch) {
  Model& model = self.model();
  std::vector<BatchItem> items;
  int64_t rows[3] = {};  // by Output
  for (const auto& item : batch) {
    BatchItem& made = items.emplace_back(to_item(self, item));
    if (made.output == Output::top_logits && !model.finds_top(made.adapter.get())) made.output = Output::logits;
    rows[static_cast<int>(made.output)] += static_cast<int64_t>(made.wanted.size());
  }
  const int64_t vocab = model.config().vocab_size, hidden = model.config().hidden_size;
  const int64_t cols[] = {vocab, hidden, vocab};
  Floats all[] = {self.rows_for(Output::logits, rows[0]), self.rows_for(Output::hidden, rows[1]),
                  self.rows_for(Output::top_logits, rows[2])};
  {
    const OutputRows to{all[0].mutable_data(), all[1].mutable_data(), all[2].mutable_data()};
    py::gil_scoped_release release;
    model.forward(items, to);
  }
  std::vector<Floats> parts;
  int64_t first[3] = {};
  for (const BatchItem& item : items) {
    const auto kind = static_cast<int>(item.output);
    const auto n = static_cast<int64_t>(item.wanted.size());
    parts.push_back(part_of(all[kind], first[kind], n, cols[kind]));
    first[kind] += n;
  }
  return parts;
}

Floats embed(PyModel& self, const Ints& tokens) {
  const std::vector<int> ids = to_vector(tokens, "tokens");
  Floats x({tokens.size(), py::ssize_t{self.model().config().hidden_size}});
  float* to = x.mutable_data();
  py::gil_scoped_release release;
  self.model().embed(ids, to);
  return x;
}

template <class Array>
auto* room_for(std::optional<Array>& array, int64_t rows, int cols, const char* name) {
  if (!array) return static_cast<decltype(array->mutable_data())>(nullptr);
  if (array->ndim() != 2 || array->shape(0) != rows || array->shape(1) != cols)
    throw Error(std::string(name) + ": expected shape (" + std::to_string(rows) + ", " + std::to_string(cols) +
                "), found " + shape_text(*array));
  return array->mutable_data();
}

void run_layer(PyModel& self, int layer, const Ints& lengths, std::optional<Floats> x, std::optional<Floats> qkv,
               std::optional<Floats> o, std::optional<Floats> gate_up, std::optional<Floats> down,
               std::optional<Floats> experts, std::optional<Ints> chosen) {
  const std::vector<int> each = to_vector(lengths, "lengths");
  const int64_t tokens = std::accumulate(each.begin(), each.end(), int64_t{0});
  const Config& c = self.model().config();
  float* stream = room_for(x, tokens, c.hidden_size, "x");
  const LayerInputs inputs{room_for(qkv, tokens, c.hidden_size, "qkv"),
                           room_for(o, tokens, c.q_size(), "o"),
                           room_for(gate_up, tokens, c.hidden_size, "gate_up"),
                           room_for(down, tokens, c.intermediate_size, "down"),
                           room_for(experts, tokens * c.experts.chosen, c.experts.width, "experts"),
                           room_for(chosen, tokens, c.experts.chosen, "chosen")};
  py::gil_scoped_release release;
  self.model().run_layer(layer, each, stream, inputs);
}

Floats head(PyModel& self, const Floats& x) {
  Model& model = self.model();
  if (x.ndim() != 2 || x.shape(1) != model.config().hidden_size)
    throw Error("x: expected shape (n, " + std::to_string(model.config().hidden_size) + "), found " + shape_text(x));
  const auto n = static_cast<int>(x.shape(0));
  const int64_t stride = model.logits_stride();
  Floats logits({int64_t{n}, stride});
  {
    const float* from = x.data();
    float* to = logits.mutable_data();
    py::gil_scoped_release release;
    model.head(from, n, to);
  }
  return part_of(logits, 0, n, model.config().vocab_size);
}

}  // namespace

void bind_model(py::module_& m) {
  py::class_<PyModel, std::shared_ptr<PyModel>>(m, "Model")
      .def(py::init<const py::dict&, MatrixEntries, VectorEntries, const std::string&, int>(), py::arg("config"),
           py::arg("matrices"), py::arg("vectors"), py::arg("kv"), py::arg("threads"))
      .def_property(
          "threads", [](PyModel& self) { return self.model().threads(); },
          [](PyModel& self, int threads) {
            py::gil_scoped_release release;
            self.model().set_threads(threads);
          })
      .def(
          "new_sequence",
          [](PyModel& self, const std::vector<std::shared_ptr<HeldBlock>>& blocks) {
            return std::make_shared<Sequence>(self.model().pool(), blocks);
          },
          py::arg("blocks") = py::tuple())
      .def("forward", &forward, py::arg("batch"))
      .def("embed", &embed, py::arg("tokens"))
      .def("run_layer", &run_layer, py::arg("layer"), py::arg("lengths"), py::arg("x").noconvert().none(false),
           py::kw_only(), py::arg("qkv").noconvert() = py::none(), py::arg("o").noconvert() = py::none(),
           py::arg("gate_up").noconvert() = py::none(), py::arg("down").noconvert() = py::none(),
           py::arg("experts").noconvert() = py::none(), py::arg("chosen").noconvert() = py::none())
      .def("head", &head, py::arg("x"))
      .def("kv_blocks_in_use", [](PyModel& self) { return self.model().pool()->blocks_in_use(); })
      .def("kv_block_bytes", [](PyModel& self) { return self.model().pool()->block_bytes(); })
      .def("workspace_bytes", [](PyModel& self) { return self.model().workspace_bytes(); })
      .def("counters", [](PyModel& self) {
        return std::map<std::string, int64_t>{{"tokens", self.model().tokens_processed()},
                                              {"calls", self.model().calls()}};
      });
}

}  // namespace qwen3cpu
