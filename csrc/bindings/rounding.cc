// pybind11: error-compensating rounding (round_q4.h, block_moments.h) on NumPy arrays. Checks of shapes, no logic.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "bindings/arrays.h"
#include "bindings/parts.h"
#include "layout/format_names.h"
#include "packing/pack.h"
#include "rounding/block_moments.h"
#include "rounding/round_q4.h"
#include "system/error.h"
#include "system/parallel.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

void require(bool ok, const std::string& what) {
  if (!ok) throw Error("rounding: " + what);
}

uint8_t* packed_room(Array<uint8_t>& out, int rows, int cols) {
  const int64_t expected = matrix_bytes(Format::q4, rows, cols);
  require(out.size() == expected,
          "expected " + std::to_string(expected) + " bytes of room, found " + std::to_string(out.size()));
  return out.mutable_data();
}

SourceRows rows_of(const py::array& w) {
  require(w.ndim() == 2 && w.size() > 0 && w.strides(1) == w.itemsize() && w.strides(0) >= w.nbytes() / w.shape(0) &&
              w.strides(0) % w.itemsize() == 0,
          "expected weights [rows, cols] with contiguous rows, found shape " + shape_text(w));
  return {source_of(w), w.data(), static_cast<int>(w.shape(0)), static_cast<int>(w.shape(1)),
          w.strides(0) / w.itemsize()};
}

void start(const py::array& w, Array<uint8_t>& out, int threads) {
  const SourceRows rows = rows_of(w);
  require(threads >= 1, "expected at least one thread");
  uint8_t* to = packed_room(out, rows.rows, rows.cols);
  py::gil_scoped_release release;
  start_rounding(rows, to, threads);
}

// columns: every 32 of them form one group; all are different.
void check_columns(const Array<int32_t>& columns, int cols) {
  const auto n = static_cast<int>(columns.size());
  require(columns.ndim() == 1 && n > 0 && n % kGroup == 0 && n <= kMostRunColumns,
          "expected 32 to " + std::to_string(kMostRunColumns) + " columns in whole groups of 32, found shape " +
              shape_text(columns));
  for (int first = 0; first < n; first += kGroup) {
    uint32_t seen = 0;
    const int group = columns.data()[first] / kGroup;
    for (int i = first; i < first + kGroup; ++i) {
      const int place = columns.data()[i];
      require(place >= 0 && place / kGroup == group && group < ceil_div(cols, kGroup),
              "column " + std::to_string(place) + " is none of its group's");
      seen |= 1u << (place % kGroup);
    }
    require(seen == 0xffffffffu, "a group's columns are not all there");
  }
}

void round(const py::array& w, const Array<int32_t>& source, const Array<int32_t>& places, const Array<float>& factor,
           Array<uint8_t>& out, int cols, std::optional<Array<float>> errors, int threads) {
  check_columns(places, cols);
  const SourceRows rows = rows_of(w);
  const auto n = static_cast<int>(places.size());
  require(source.ndim() == 1 && source.size() == n,
          "expected " + std::to_string(n) + " source columns, found shape " + shape_text(source));
  const auto [first, last] = std::minmax_element(source.data(), source.data() + n);
  require(*first >= 0 && *first < rows.cols && *last - *first < kMostRunColumns,
          "source columns " + std::to_string(*first) + " to " + std::to_string(*last) + " are not within " +
              std::to_string(kMostRunColumns) + " neighbours that begin in the weights");
  require(
      factor.ndim() == 2 && factor.shape(0) == n && factor.shape(1) == n,
      "expected a factor of shape (" + std::to_string(n) + ", " + std::to_string(n) + "), found " + shape_text(factor));
  require(threads >= 1, "expected at least one thread");
  require(!errors || (errors->ndim() == 2 && errors->shape(0) == rows.rows && errors->shape(1) == n),
          "expected errors of shape (" + std::to_string(rows.rows) + ", " + std::to_string(n) + ")");
  uint8_t* into = packed_room(out, rows.rows, cols);
  float* to_errors = errors ? errors->mutable_data() : nullptr;
  py::gil_scoped_release release;
  round_columns(rows, cols, {source.data(), places.data(), n, factor.data()}, into, to_errors, threads);
}

void add_moments(const Array<float>& x, Array<float>& moments, int threads) {
  require(x.ndim() == 2 && x.size() > 0, "expected inputs [tokens, cols], found shape " + shape_text(x));
  const auto tokens = static_cast<int>(x.shape(0)), cols = static_cast<int>(x.shape(1));
  require(
      moments.ndim() == 3 && moments.shape(1) == moments.shape(2) && moments.shape(1) > 0 &&
          moments.shape(1) % 8 == 0 && moments.shape(0) == ceil_div(cols, static_cast<int>(moments.shape(1))),
      "expected moments [blocks, n, n] for " + std::to_string(cols) + " columns, found shape " + shape_text(moments));
  require(threads >= 1, "expected at least one thread");
  const auto block = static_cast<int>(moments.shape(1));
  float* to = moments.mutable_data();
  py::gil_scoped_release release;
  add_block_moments(x.data(), tokens, cols, block, to, threads);
}

Array<float> invert(const Array<double>& matrices, int threads) {
  require(matrices.ndim() == 3 && matrices.shape(1) == matrices.shape(2),
          "expected matrices [blocks, n, n], found shape " + shape_text(matrices));
  require(threads >= 1, "expected at least one thread");
  const auto blocks = static_cast<int>(matrices.shape(0)), n = static_cast<int>(matrices.shape(1));
  Array<float> u({matrices.shape(0), matrices.shape(1), matrices.shape(2)});
  float* to = u.mutable_data();
  py::gil_scoped_release release;
  require(invert_factors(matrices.data(), blocks, n, to, threads), "a matrix is not positive definite");
  return u;
}

Array<float> unpack(const std::string& format, const Array<uint8_t>& packed, int rows, int cols, int threads, int first,
                    std::optional<int> last) {
  const Matrix w{parse_format(format), rows, cols, packed.data()};
  require(rows > 0 && cols > 0 && threads > 0, "expected positive sizes");
  require(packed.size() == matrix_bytes(w.format, rows, cols),
          "expected " + std::to_string(matrix_bytes(w.format, rows, cols)) + " packed bytes, found " +
              std::to_string(packed.size()));
  const int stop = last.value_or(rows);
  require(0 <= first && first <= stop && stop <= rows, "expected rows within 0 to " + std::to_string(rows) +
                                                           ", found " + std::to_string(first) + " to " +
                                                           std::to_string(stop));
  const int count = stop - first;
  Array<float> out({int64_t{count}, int64_t{cols}});
  float* to = out.mutable_data();
  py::gil_scoped_release release;
  run_team(threads, [&](Team& team) {
    team.for_each(count, [&](int row) { row_to_float(w, first + row, to + int64_t{row} * cols); });
  });
  return out;
}

}  // namespace

void bind_rounding(py::module_& m) {
  m.attr("MOST_RUN_COLUMNS") = kMostRunColumns;
  m.def("start_rounding", &start, py::arg("weights").noconvert(), py::arg("out").noconvert(), py::arg("threads"));
  m.def("round_columns", &round, py::arg("weights").noconvert(), py::arg("source").noconvert(),
        py::arg("places").noconvert(), py::arg("factor").noconvert(), py::arg("out").noconvert(), py::arg("cols"),
        py::arg("errors").noconvert(), py::arg("threads"));
  m.def("add_block_moments", &add_moments, py::arg("inputs").noconvert(), py::arg("moments").noconvert(),
        py::arg("threads"));
  m.def("invert_factors", &invert, py::arg("matrices").noconvert(), py::arg("threads"));
  m.def("unpack", &unpack, py::arg("format"), py::arg("packed").noconvert(), py::arg("rows"), py::arg("cols"),
        py::arg("threads"), py::arg("first") = 0, py::arg("last") = py::none());
}

}  // namespace qwen3cpu
