// pybind11: the formats of weights and of the KV cache, and packing. Checks of shapes, no logic.
#include "bindings/arrays.h"
#include "bindings/parts.h"
#include "engine/top_rows.h"
#include "layout/format_names.h"
#include "packing/pack_rows.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

// Throws unless rows [first_row, first_row + n) of `rows` are whole row tiles and `out` has room for the matrix.
void check_place(Format format, const Bytes& out, int rows, int cols, int first_row, int n) {
  if (n < 1 || cols < 1)
    throw Error("pack: expected positive sizes, found " + std::to_string(n) + " rows of " + std::to_string(cols));
  if (first_row % kTileRows != 0 || first_row < 0 || first_row + n > rows ||
      (n % kTileRows != 0 && first_row + n != rows))
    throw Error("pack: rows " + std::to_string(first_row) + " to " + std::to_string(first_row + n) + " of " +
                std::to_string(rows) + " are not whole row tiles of 8");
  if (out.size() != matrix_bytes(format, rows, cols))
    throw Error("pack: expected " + std::to_string(matrix_bytes(format, rows, cols)) + " bytes of room, found " +
                std::to_string(out.size()));
}

void pack_into(const std::string& format, const py::array& source, Bytes& out, int rows, int first_row, int threads) {
  const Format f = parse_format(format);
  if (source.ndim() != 2 || !(source.flags() & py::array::c_style))
    throw Error("pack: expected a C-contiguous 2-D array, found shape " + shape_text(source));
  const Source type = source_of(source);
  const auto n = static_cast<int>(source.shape(0)), cols = static_cast<int>(source.shape(1));
  check_place(f, out, rows, cols, first_row, n);
  uint8_t* to = out.mutable_data();
  const void* from = source.data();
  py::gil_scoped_release release;
  pack_rows(f, type, from, rows, cols, first_row, n, to, threads);
}

void write_affine_into(const std::string& format, const Bytes& n, const Floats& scale, const Floats& minimum, int group,
                       Bytes& out, int rows, int first_row, int threads) {
  const Format f = parse_format(format);
  const int width = f == Format::q4a32 ? 32 : f == Format::q4a64 ? 64 : f == Format::q4a128 ? 128 : 0;
  if (width == 0 || group < width || group % width != 0)
    throw Error("write_affine: expected groups that are whole ones of q4a32, q4a64 or q4a128, found groups of " +
                std::to_string(group) + " for " + format);
  if (n.ndim() != 2) throw Error("write_affine: expected levels [rows, cols], found shape " + shape_text(n));
  const auto n_rows = static_cast<int>(n.shape(0)), cols = static_cast<int>(n.shape(1));
  check_place(f, out, rows, cols, first_row, n_rows);
  for (const Floats* each : {&scale, &minimum})
    if (each->ndim() != 2 || each->shape(0) != n_rows || each->shape(1) != ceil_div(cols, group))
      throw Error("write_affine: expected scales and minima [" + std::to_string(n_rows) + ", " +
                  std::to_string(ceil_div(cols, group)) + "], found shape " + shape_text(*each));
  const AffineRows from = {cols, group, n.data(), scale.data(), minimum.data()};
  uint8_t* to = out.mutable_data();
  py::gil_scoped_release release;
  write_affine_rows(f, from, first_row, n_rows, to, threads);
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
  m.attr("LEAST_TOP_TOKENS") = TopRows::kLeastTiles * kTileRows;
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
  m.def("write_affine_into", &write_affine_into, py::arg("format"), py::arg("n"), py::arg("scale"), py::arg("minimum"),
        py::arg("group"), py::arg("out"), py::arg("rows"), py::arg("first_row"), py::arg("threads"));
  m.def("pack_into", &pack_into, py::arg("format"), py::arg("source"), py::arg("out"), py::arg("rows"),
        py::arg("first_row"), py::arg("threads"));
}

}  // namespace qwen3cpu
