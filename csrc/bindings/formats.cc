// pybind11: the formats of weights and of the KV cache, and packing into them. Checks of shapes, no logic.
#include "bindings/arrays.h"
#include "bindings/parts.h"
#include "layout/format_names.h"
#include "packing/pack_rows.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

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

}  // namespace

void bind_formats(py::module_& m) {
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
        return py::make_tuple(kv_value_bytes(format), kv_scale_bytes(format));
      },
      py::arg("kv"));
  m.def(
      "block_columns", [](const std::string& format) { return block_columns(parse_format(format)); },
      py::arg("format"));
  m.def(
      "activation_columns",
      [](const std::string& format) { return scale_columns(activation_of(parse_format(format))); }, py::arg("format"));
  m.def(
      "matrix_bytes",
      [](const std::string& format, int rows, int cols) { return matrix_bytes(parse_format(format), rows, cols); },
      py::arg("format"), py::arg("rows"), py::arg("cols"));
  m.def("pack_into", &pack_into, py::arg("format"), py::arg("source"), py::arg("out"), py::arg("rows"),
        py::arg("first_row"), py::arg("threads"));
}

}  // namespace qwen3cpu
