// pybind11 for byte-pair encoding: conversion and the GIL. No logic.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <utility>

#include "bindings/parts.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokenizer_json.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

py::object read_bpe(const py::bytes& tokenizer_json) {
  const auto text = tokenizer_json.cast<std::string_view>();
  std::optional<TokenizerJson> found;
  {
    py::gil_scoped_release release;
    found = read_tokenizer_json(text);
  }
  if (!found) return py::none();
  return py::make_tuple(std::make_unique<Bpe>(std::move(found->bpe)), py::bytes(found->rest));
}

// Returns an array, because a list of the ids takes eight times the memory.
py::array_t<uint32_t> encode(const Bpe& bpe, const std::vector<std::string>& words) {
  std::vector<uint32_t> ids;
  {
    py::gil_scoped_release release;
    std::string bytes;
    for (const std::string& word : words) {
      bytes.clear();
      for (std::string_view rest = word; !rest.empty();) {
        const int byte = take_byte_letter(rest);
        if (byte >= 0) bytes += static_cast<char>(byte);
      }
      bpe.encode(bytes, ids);
    }
  }
  return py::array_t<uint32_t>(static_cast<py::ssize_t>(ids.size()), ids.data());
}

}  // namespace

void bind_bpe(py::module_& m) {
  py::class_<Bpe>(m, "Bpe")
      .def_static("read", &read_bpe, py::arg("tokenizer_json"))
      .def_property_readonly("size", &Bpe::size)
      .def(
          "token",
          [](const Bpe& bpe, uint32_t id) {
            if (id >= bpe.size()) throw py::index_error("no such token");
            return py::bytes(std::string(bpe.token(id)));
          },
          py::arg("id"))
      .def(
          "find", [](const Bpe& bpe, const py::bytes& token) { return bpe.find(token.cast<std::string_view>()); },
          py::arg("token"))
      .def("encode", &encode, py::arg("words"));
}

}  // namespace qwen3cpu
