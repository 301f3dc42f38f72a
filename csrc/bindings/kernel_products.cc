// pybind11: products of packed matrices, and reading packed rows.
#include <pybind11/stl.h>

#include <limits>

#include "bindings/kernel_calls.h"
#include "bindings/parts.h"
#include "kernels/registry.h"
#include "layout/format_names.h"
#include "packing/pack.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

using namespace kernel_calls;

// The arrays of prepared activations: (x,) or (q, scale, sum).
using ActivationArrays = py::tuple;

Matrix to_matrix(const std::string& format, const Array<uint8_t>& packed, int rows, int cols) {
  const Matrix w{parse_format(format), rows, cols, packed.data()};
  require(rows > 0 && cols > 0, "rows and cols must be positive");
  require_shape(packed, {matrix_bytes(w.format, rows, cols)}, "packed");
  return w;
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Activations copied out of arrays, with the elements behind the last token that kernels may read. These are set to
// values that would show in every result if a kernel used them.
struct OwnedActivations {
  Activations view;
  Buffer<float> f32;
  Buffer<int8_t> q;
  Buffer<float> scale;
  Buffer<int16_t> sum;
};

template <class T>
const T* copy_with_slack(const py::handle& array, int64_t rows, int64_t cols, int64_t stride, const char* name, T slack,
                         Buffer<T>& to) {
  const auto values = array.cast<Array<T>>();
  require_shape(values, {rows, cols}, name);
  T* data = to.reserve(rows * stride + kActivationSlack);
  std::fill_n(data, rows * stride, T{});
  for (int64_t i = 0; i < rows; ++i) std::copy_n(values.data() + i * cols, cols, data + i * stride);
  std::fill_n(data + rows * stride, kActivationSlack, slack);
  return data;
}

void to_activations(const Matrix& w, const ActivationArrays& arrays, int n_tokens, int64_t stride,
                    OwnedActivations& out) {
  const Activation form = activation_of(w.format);
  Activations& x = out.view;
  const int64_t cols = round_up(w.cols, kGroup);
  x.stride = static_cast<int>(stride);
  if (form == Activation::f32) {
    require(arrays.size() == 1, "expected (x,)");
    x.f32 = copy_with_slack<float>(arrays[0], n_tokens, cols, x.stride, "x", kNan, out.f32);
    return;
  }
  require(arrays.size() == 3, "expected (q, scale, sum)");
  x.scales = ceil_div(w.cols, scale_columns(form));
  x.q = copy_with_slack<int8_t>(arrays[0], n_tokens, cols, x.stride, "q", 127, out.q);
  x.scale = copy_with_slack<float>(arrays[1], n_tokens, x.scales, x.scales, "scale", kNan, out.scale);
  x.sum = copy_with_slack<int16_t>(arrays[2], n_tokens, cols / kGroup, x.stride / kGroup, "sum", 4064, out.sum);
}

// Returns y [n_tokens, ldy]. Elements that the kernel must not write keep their NaN.
Array<float> matmul(const std::string& isa, const std::string& format, const Array<uint8_t>& packed, int rows, int cols,
                    const ActivationArrays& arrays, int all_tokens, int first_tile, int n_tiles, int first_token,
                    int n_tokens, int64_t ldy) {
  const Matrix w = to_matrix(format, packed, rows, cols);
  OwnedActivations owned;
  to_activations(w, arrays, all_tokens, round_up(w.cols, kGroup), owned);
  const Activations& x = owned.view;
  require(first_tile >= 0 && n_tiles >= 0 && first_tile + n_tiles <= w.tiles(), "tiles out of range");
  require(first_token >= 0 && n_tokens >= 0 && first_token + n_tokens <= all_tokens, "tokens out of range");
  require(ldy >= n_tiles * kTileRows, "ldy is too small");
  const FormatKernels& kernels = isa_table(isa).formats[static_cast<int>(w.format)];
  Array<float> y({int64_t{n_tokens}, ldy});
  std::fill(y.mutable_data(), y.mutable_data() + y.size(), kNan);
  Scratch scratch(matmul_scratch_bytes(cols));
  float* to = y.mutable_data();
  run_alone(1, [&] { kernels.matmul(w, first_tile, n_tiles, x, first_token, n_tokens, to, ldy, scratch.get()); });
  return y;
}

// Times the product of the whole matrix, cut into pieces of `tiles_per_piece` row tiles for `threads` threads. Inputs
// and outputs have the engine's strides, which spread them over the sets of the caches.
Timing time_matmul(const std::string& isa, const std::string& format, const Array<uint8_t>& packed, int rows, int cols,
                   const ActivationArrays& arrays, int n_tokens, int tiles_per_piece, int threads, int repeats) {
  const Matrix w = to_matrix(format, packed, rows, cols);
  OwnedActivations owned;
  to_activations(w, arrays, n_tokens, spread_lines(w.cols), owned);
  const Activations& x = owned.view;
  require(tiles_per_piece > 0 && threads > 0 && repeats > 0, "expected positive counts");
  const FormatKernels& kernels = isa_table(isa).formats[static_cast<int>(w.format)];
  const int64_t ldy = spread_rows(w.rows);
  Buffer<float> y;
  y.reserve(n_tokens * ldy);
  Scratch scratch(threads * matmul_scratch_bytes(cols));
  py::gil_scoped_release release;
  return timed([&] {
    run_team(threads, [&](Team& team) {
      uint8_t* own_scratch = scratch.get() + team.rank() * matmul_scratch_bytes(cols);
      for (int i = 0; i < repeats; ++i) {
        team.for_each(ceil_div(w.tiles(), tiles_per_piece), [&](int piece) {
          const int first = piece * tiles_per_piece;
          const int n = w.tiles() - first < tiles_per_piece ? w.tiles() - first : tiles_per_piece;
          kernels.matmul(w, first, n, x, 0, n_tokens, y.get() + first * kTileRows, ldy, own_scratch);
        });
      }
    });
  });
}

Array<float> row_to_float_array(const std::string& format, const Array<uint8_t>& packed, int rows, int cols, int row) {
  const Matrix w = to_matrix(format, packed, rows, cols);
  require(row >= 0 && row < rows, "row out of range");
  Array<float> out(cols);
  float* to = out.mutable_data();
  run_alone(1, [&] { row_to_float(w, row, to); });
  return out;
}

}  // namespace

void bind_kernel_products(py::module_& m) {
  m.def("matmul", &matmul, py::arg("isa"), py::arg("format"), py::arg("packed"), py::arg("rows"), py::arg("cols"),
        py::arg("x"), py::arg("all_tokens"), py::arg("first_tile"), py::arg("n_tiles"), py::arg("first_token"),
        py::arg("n_tokens"), py::arg("ldy"));
  m.def("time_matmul", &time_matmul, py::arg("isa"), py::arg("format"), py::arg("packed"), py::arg("rows"),
        py::arg("cols"), py::arg("x"), py::arg("n_tokens"), py::arg("tiles_per_piece"), py::arg("threads"),
        py::arg("repeats"));
  m.def("row_to_float", &row_to_float_array, py::arg("format"), py::arg("packed"), py::arg("rows"), py::arg("cols"),
        py::arg("row"));
}

}  // namespace qwen3cpu
