// pybind11: conversion, the GIL and exceptions. No logic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/bpe.h"
#include "bindings/kernels.h"
#include "bindings/rounding.h"
#include "engine/model.h"
#include "kernels/registry.h"
#include "layout/format_names.h"
#include "packing/pack_rows.h"
#include "system/error.h"
#include "system/memory.h"
#include "system/parallel.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

using Floats = Array<float>;
using Ints = Array<int32_t>;
using Bytes = Array<uint8_t>;

template <class T>
T item(const py::dict& config, const char* key) {
  if (!config.contains(key)) throw Error(std::string("config: missing ") + key);
  try {
    return config[key].cast<T>();
  } catch (const py::cast_error&) {
    throw Error(std::string("config: ") + key + " has the value " + std::string(py::repr(config[key])));
  }
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
  c.rms_norm_eps = item<float>(d, "rms_norm_eps");
  c.rope_scale = item<float>(d, "rope_scale");
  c.context = item<int>(d, "context");
  const auto inv_freq = item<Floats>(d, "inv_freq");
  c.inv_freq.assign(inv_freq.data(), inv_freq.data() + inv_freq.size());
  validate(c);
  return c;
}

Matrix to_matrix(const std::string& name, const std::tuple<std::string, int, int, Bytes>& entry) {
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

using MatrixEntries = std::map<std::string, std::tuple<std::string, int, int, Bytes>>;
using VectorEntries = std::map<std::string, Floats>;

Weights to_weights(const Config& config, const MatrixEntries& matrices, const VectorEntries& vectors) {
  std::map<std::string, Matrix> views;
  for (const auto& [name, entry] : matrices) views.emplace(name, to_matrix(name, entry));
  std::map<std::string, Vector> vector_views;
  for (const auto& [name, data] : vectors) vector_views.emplace(name, Vector{data.data(), data.size()});
  return collect_weights(config, Tensors(views, vector_views));
}

// A model together with the arrays that its views point into.
class PyModel {
 public:
  PyModel(const py::dict& config, MatrixEntries matrices, VectorEntries vectors, const std::string& kv, int threads)
      : matrices_(std::move(matrices)), vectors_(std::move(vectors)) {
    const Config c = to_config(config);
    model_ = std::make_unique<Model>(c, to_weights(c, matrices_, vectors_), parse_kv_format(kv), threads);
  }

  Model& model() { return *model_; }

 private:
  MatrixEntries matrices_;
  VectorEntries vectors_;
  std::unique_ptr<Model> model_;
};

std::vector<int> to_vector(const Ints& a, const char* what) {
  if (a.ndim() != 1) throw Error(std::string(what) + ": expected a 1-D int32 array, found shape " + shape_text(a));
  return {a.data(), a.data() + a.size()};
}

// A view of logits without the padding up to a whole row tile.
py::array_t<float> without_padding(const py::array_t<float>& logits, const Model& model) {
  return py::array_t<float>({int64_t{logits.shape(0)}, int64_t{model.config().vocab_size}},
                            {logits.strides(0), int64_t{4}}, logits.data(), logits);
}

py::array_t<float> forward(PyModel& self, const std::vector<std::pair<std::shared_ptr<Sequence>, Ints>>& batch,
                           const std::vector<Ints>& wanted) {
  if (batch.size() != wanted.size())
    throw Error("forward: " + std::to_string(batch.size()) + " batch items but " + std::to_string(wanted.size()) +
                " lists of wanted positions");
  std::vector<BatchItem> items;
  int64_t rows = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (batch[i].first == nullptr) throw Error("forward: a sequence is None");
    items.push_back({batch[i].first, to_vector(batch[i].second, "tokens"), to_vector(wanted[i], "wanted")});
    rows += static_cast<int64_t>(items.back().wanted.size());
  }
  Model& model = self.model();
  const int64_t stride = model.logits_stride();
  py::array_t<float> logits({rows, stride});
  {
    py::gil_scoped_release release;
    model.forward(items, logits.mutable_data());
  }
  return without_padding(logits, model);
}

py::array_t<float> embed(PyModel& self, const Ints& tokens) {
  const std::vector<int> ids = to_vector(tokens, "tokens");
  py::array_t<float> x({tokens.size(), py::ssize_t{self.model().config().hidden_size}});
  float* to = x.mutable_data();
  py::gil_scoped_release release;
  self.model().embed(ids, to);
  return x;
}

float* room_for(std::optional<Floats>& array, int64_t tokens, int cols, const char* name) {
  if (!array) return nullptr;
  if (array->ndim() != 2 || array->shape(0) != tokens || array->shape(1) != cols)
    throw Error(std::string(name) + ": expected shape (" + std::to_string(tokens) + ", " + std::to_string(cols) +
                "), found " + shape_text(*array));
  return array->mutable_data();
}

void run_layer(PyModel& self, int layer, const Ints& lengths, std::optional<Floats> x, std::optional<Floats> qkv,
               std::optional<Floats> o, std::optional<Floats> gate_up, std::optional<Floats> down) {
  const std::vector<int> each = to_vector(lengths, "lengths");
  const int64_t tokens = std::accumulate(each.begin(), each.end(), int64_t{0});
  const Config& c = self.model().config();
  float* stream = room_for(x, tokens, c.hidden_size, "x");
  const LayerInputs inputs{room_for(qkv, tokens, c.hidden_size, "qkv"), room_for(o, tokens, c.q_size(), "o"),
                           room_for(gate_up, tokens, c.hidden_size, "gate_up"),
                           room_for(down, tokens, c.intermediate_size, "down")};
  py::gil_scoped_release release;
  self.model().run_layer(layer, each, stream, inputs);
}

py::array_t<float> head(PyModel& self, const Floats& x) {
  Model& model = self.model();
  if (x.ndim() != 2 || x.shape(1) != model.config().hidden_size)
    throw Error("x: expected shape (n, " + std::to_string(model.config().hidden_size) + "), found " + shape_text(x));
  const auto n = static_cast<int>(x.shape(0));
  const int64_t stride = model.logits_stride();
  py::array_t<float> logits({int64_t{n}, stride});
  {
    const float* from = x.data();
    float* to = logits.mutable_data();
    py::gil_scoped_release release;
    model.head(from, n, to);
  }
  return without_padding(logits, model);
}

void pack_into(const std::string& format, const py::array& source, Bytes& out, int rows, int first_row, int threads) {
  const Format f = parse_format(format);
  if (source.ndim() != 2 || !(source.flags() & py::array::c_style))
    throw Error("pack: expected a C-contiguous 2-D array, found shape " + shape_text(source));
  const Source type = source_of(source);
  const auto n = static_cast<int>(source.shape(0)), cols = static_cast<int>(source.shape(1));
  if (n < 1 || cols < 1) throw Error("pack: expected positive sizes, found shape " + shape_text(source));
  if (first_row % kTileRows != 0 || first_row < 0 || first_row + n > rows ||
      (n % kTileRows != 0 && first_row + n != rows))
    throw Error("pack: rows " + std::to_string(first_row) + " to " + std::to_string(first_row + n) + " of " +
                std::to_string(rows) + " are not whole row tiles of 8");
  if (out.size() != matrix_bytes(f, rows, cols))
    throw Error("pack: expected " + std::to_string(matrix_bytes(f, rows, cols)) + " bytes of room, found " +
                std::to_string(out.size()));
  uint8_t* to = out.mutable_data();
  const void* from = source.data();
  py::gil_scoped_release release;
  pack_rows(f, type, from, rows, cols, first_row, n, to, threads);
}

void bind_engine(py::module_& m) {
  using NoGil = py::call_guard<py::gil_scoped_release>;
  // Destructors keep the GIL: they take no lock that a pass holds.
  py::class_<HeldBlock, std::shared_ptr<HeldBlock>>(m, "Block").def_property_readonly("shared", &HeldBlock::shared);
  py::class_<Sequence, std::shared_ptr<Sequence>>(m, "Sequence")
      .def_property_readonly("length", &Sequence::length)
      .def("truncate", &Sequence::truncate, py::arg("length"), NoGil())
      .def("fork", &Sequence::fork, NoGil())
      .def("release", &Sequence::release, NoGil())
      .def("hold", &Sequence::hold, py::arg("index"), NoGil())
      .def(
          "read",
          [](Sequence& self, int index) {
            Bytes block(self.pool().block_bytes());
            uint8_t* out = block.mutable_data();
            const py::gil_scoped_release release;
            self.read(index, out);
            return block;
          },
          py::arg("index"))
      .def(
          "append",
          [](Sequence& self, const Bytes& block, int positions) {
            if (block.size() != self.pool().block_bytes())
              throw Error("append: expected a block of " + std::to_string(self.pool().block_bytes()) +
                          " bytes, found " + std::to_string(block.size()));
            const uint8_t* data = block.data();
            const py::gil_scoped_release release;
            self.append(data, positions);
          },
          py::arg("block").noconvert(), py::arg("positions"))
      .def(
          "block_ids",
          [](Sequence& self) {
            std::vector<uintptr_t> ids;
            for (const KvPool::Block* block : self.block_list()) ids.push_back(reinterpret_cast<uintptr_t>(block));
            return ids;
          },
          NoGil());

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
      .def("forward", &forward, py::arg("batch"), py::arg("wanted"))
      .def("embed", &embed, py::arg("tokens"))
      .def("run_layer", &run_layer, py::arg("layer"), py::arg("lengths"), py::arg("x").noconvert().none(false),
           py::kw_only(), py::arg("qkv").noconvert() = py::none(), py::arg("o").noconvert() = py::none(),
           py::arg("gate_up").noconvert() = py::none(), py::arg("down").noconvert() = py::none())
      .def("head", &head, py::arg("x"))
      .def("kv_blocks_in_use", [](PyModel& self) { return self.model().pool()->blocks_in_use(); })
      .def("kv_block_bytes", [](PyModel& self) { return self.model().pool()->block_bytes(); })
      .def("workspace_bytes", [](PyModel& self) { return self.model().workspace_bytes(); })
      .def("counters", [](PyModel& self) {
        return std::map<std::string, int64_t>{{"tokens", self.model().tokens_processed()},
                                              {"calls", self.model().calls()}};
      });
}

}  // namespace
}  // namespace qwen3cpu

PYBIND11_MODULE(_native, m) {
  using namespace qwen3cpu;
  m.doc() = "The compiled engine of qwen3cpu.";
  static py::object engine_error = py::module_::import("qwen3cpu.errors").attr("EngineError");
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& e) {
      PyErr_SetString(engine_error.ptr(), e.what());
    }
  });

  py::list formats, kv_formats;
  for (int f = 0; f < kFormats; ++f) formats.append(format_name(static_cast<Format>(f)));
  for (int f = 0; f < kKvFormats; ++f) kv_formats.append(kv_format_name(static_cast<KvFormat>(f)));
  m.attr("FORMATS") = formats;
  m.attr("KV_FORMATS") = kv_formats;
  m.attr("KV_BLOCK") = kKvBlock;
  m.attr("TILE_ROWS") = kTileRows;
  m.def(
      "kv_format_bytes",
      [](const std::string& kv) {
        const KvFormat format = parse_kv_format(kv);
        return std::make_pair(kv_value_bytes(format), kv_scale_bytes(format));
      },
      py::arg("kv"));
  m.def("isas", [] {
    std::vector<std::pair<std::string, bool>> rows;
    for (const IsaTable* table : isa_tables()) rows.emplace_back(table->name, table->supported());
    return rows;
  });
  m.def("chosen_isa", [] { return chosen_isa().name; });
  const char* isa = std::getenv("QWEN3CPU_ISA");
  if (isa != nullptr && std::strcmp(isa, "list") == 0) std::fputs(isa_list().c_str(), stderr);
  m.def("physical_cores", &physical_cores);
  m.def(
      "matrix_bytes",
      [](const std::string& format, int rows, int cols) { return matrix_bytes(parse_format(format), rows, cols); },
      py::arg("format"), py::arg("rows"), py::arg("cols"));
  m.def("pack_into", &pack_into, py::arg("format"), py::arg("source"), py::arg("out"), py::arg("rows"),
        py::arg("first_row"), py::arg("threads"));
  m.def(
      "touch_pages",
      [](const Bytes& array) {
        const uint8_t* data = array.data();
        const auto bytes = array.nbytes();
        py::gil_scoped_release release;
        touch_pages(data, bytes);
      },
      py::arg("array").noconvert());
  bind_engine(m);
  bind_bpe(m);
  bind_rounding(m);
  bind_kernels(m);
}
