// pybind11: single kernels of a named ISA on NumPy arrays, their addresses and their speed. For tests and benchmarks;
// every kernel runs as the engine runs it, in a team with denormals flushed to zero.
#include "bindings/kernels.h"

#include <pybind11/stl.h>

#include <chrono>
#include <limits>
#include <map>
#include <tuple>

#include "bindings/arrays.h"
#include "kernels/registry.h"
#include "layout/format_names.h"
#include "packing/pack.h"
#include "system/buffer.h"
#include "system/error.h"
#include "system/parallel.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace py = pybind11;

namespace qwen3cpu {
namespace {

void require(bool ok, const std::string& what) {
  if (!ok) throw Error("kernels: " + what);
}

template <class T>
void require_shape(const Array<T>& a, std::initializer_list<int64_t> shape, const char* name) {
  bool same = a.ndim() == static_cast<py::ssize_t>(shape.size());
  int i = 0;
  std::string wanted;
  for (const int64_t n : shape) {
    same = same && a.shape(i++) == n;
    wanted += (wanted.empty() ? "" : ", ") + std::to_string(n);
  }
  require(same, std::string(name) + ": expected shape (" + wanted + "), found " +
                    std::string(py::str(py::object(a.attr("shape")))));
}

// 0 where the CPU has no time stamp counter.
uint64_t ticks() {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return 0;
#endif
}

using Timing = std::tuple<double, uint64_t>;  // seconds, ticks

template <class Run>
Timing timed(Run&& run) {
  const auto start = std::chrono::steady_clock::now();
  const uint64_t first_tick = ticks();
  run();
  const uint64_t passed = ticks() - first_tick;
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), passed};
}

// Runs body() `repeats` times in one thread under the engine's floating-point mode and without the GIL.
template <class Body>
Timing run_alone(int repeats, Body&& body) {
  py::gil_scoped_release release;
  return timed([&] {
    run_team(1, [&](Team&) {
      for (int i = 0; i < repeats; ++i) body();
    });
  });
}

struct Scratch {
  explicit Scratch(int64_t bytes) { buffer.reserve(bytes); }
  uint8_t* get() { return buffer.get(); }
  Buffer<uint8_t> buffer;
};

// ---- matmul

// The arrays of prepared activations: (x,) or (q, scale, sum).
using ActivationArrays = py::tuple;

Matrix to_matrix(const std::string& format, const Array<uint8_t>& packed, int rows, int cols) {
  const Matrix w{parse_format(format), rows, cols, packed.data()};
  require(rows > 0 && cols > 0, "rows and cols must be positive");
  require_shape(packed, {matrix_bytes(w.format, rows, cols)}, "packed");
  return w;
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Activations copied out of arrays, with the elements behind the last token that kernels may read. Those are set to
// what would show in every result if it mattered.
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
  x.scales = ceil_div(w.cols, form == Activation::i8g32 ? 32 : 256);
  x.q = copy_with_slack<int8_t>(arrays[0], n_tokens, cols, x.stride, "q", 127, out.q);
  x.scale = copy_with_slack<float>(arrays[1], n_tokens, x.scales, x.scales, "scale", kNan, out.scale);
  x.sum = copy_with_slack<int16_t>(arrays[2], n_tokens, cols / kGroup, x.stride / kGroup, "sum", 4064, out.sum);
}

// y [n_tokens, ldy]; what the kernel must not touch keeps its NaN.
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

// The whole matrix, cut into pieces of `tiles_per_piece` row tiles for `threads` threads; inputs and outputs lie as the
// engine's do, spread over the sets of the caches.
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

// ---- activations

Activation parse_activation(const std::string& name) {
  if (name == "i8g32") return Activation::i8g32;
  if (name == "i8g256") return Activation::i8g256;
  throw Error("kernels: expected i8g32 or i8g256, found " + name);
}

std::tuple<Array<int8_t>, Array<float>, Array<int16_t>> quantize(const std::string& isa, const std::string& form,
                                                                 const Array<float>& x) {
  require(x.ndim() == 2 && x.shape(1) > 0, "x: expected [n_tokens, cols]");
  const bool g32 = parse_activation(form) == Activation::i8g32;
  const OpKernels& ops = isa_table(isa).ops;
  QuantizeFn* kernel = g32 ? ops.quantize_i8g32 : ops.quantize_i8g256;
  const int64_t n = x.shape(0);
  const int cols = static_cast<int>(x.shape(1)), stride = static_cast<int>(round_up(cols, kGroup));
  const int64_t scales = ceil_div(cols, g32 ? 32 : 256), sums = stride / kGroup;
  Array<int8_t> q({n, int64_t{stride}});
  Array<float> scale({n, scales});
  Array<int16_t> sum({n, sums});
  const float* from = x.data();
  auto* to_q = q.mutable_data();
  auto* to_scale = scale.mutable_data();
  auto* to_sum = sum.mutable_data();
  run_alone(1, [&] {
    for (int64_t t = 0; t < n; ++t)
      kernel(from + t * cols, cols, stride, to_q + t * stride, to_scale + t * scales, to_sum + t * sums);
  });
  return {q, scale, sum};
}

// ---- attention

void require_planes(KvFormat format, int dim, const py::array& k, const py::array& v) {
  const int64_t bytes = kv_plane_bytes(format, dim);
  require(k.nbytes() == bytes && v.nbytes() == bytes, "k, v: expected " + std::to_string(bytes) + " bytes each");
}

struct AttendArrays {
  Array<float> q;        // [n_rows, dim]
  py::array k, v;        // planes of the KV format, as bytes of any type
  Array<int32_t> count;  // [n_rows]
  int dim() const { return static_cast<int>(q.shape(1)); }
  int rows() const { return static_cast<int>(q.shape(0)); }

  void check(KvFormat format) const {
    require(q.ndim() == 2 && q.shape(1) % 8 == 0, "q: expected [n_rows, dim], dim a multiple of 8");
    require_shape(count, {rows()}, "count");
    for (int row = 0; row < rows(); ++row)
      require(count.data()[row] >= 0 && count.data()[row] <= kKvBlock, "count: expected 0 to 64");
    require_planes(format, dim(), k, v);
  }
};

// (max, sum, out) after one block.
std::tuple<Array<float>, Array<float>, Array<float>> attend(const std::string& isa, const std::string& kv,
                                                            const Array<float>& q, const py::array& k,
                                                            const py::array& v, const Array<int32_t>& count,
                                                            const Array<float>& max, const Array<float>& sum,
                                                            const Array<float>& out) {
  const KvFormat format = parse_kv_format(kv);
  const AttendArrays in{q, k, v, count};
  in.check(format);
  const int64_t rows = in.rows(), dim = in.dim();
  require_shape(max, {rows}, "max");
  require_shape(sum, {rows}, "sum");
  require_shape(out, {rows, dim}, "out");
  const KvKernels& kernels = isa_table(isa).kv[static_cast<int>(format)];
  std::vector<SoftmaxState> state;
  for (int64_t row = 0; row < rows; ++row) state.push_back({max.data()[row], sum.data()[row]});
  Array<float> new_max(rows), new_sum(rows), new_out({rows, dim});
  std::copy(out.data(), out.data() + out.size(), new_out.mutable_data());
  float* to = new_out.mutable_data();
  Scratch scratch(attend_scratch_bytes(in.dim()));
  run_alone(1, [&] {
    kernels.attend(q.data(), k.data(), v.data(), count.data(), in.rows(), in.dim(), state.data(), to, scratch.get(),
                   nullptr);
  });
  for (int64_t row = 0; row < rows; ++row) {
    new_max.mutable_data()[row] = state[static_cast<size_t>(row)].max;
    new_sum.mutable_data()[row] = state[static_cast<size_t>(row)].sum;
  }
  return {new_max, new_sum, new_out};
}

// `blocks` different blocks of keys and values one after another, `repeats` times.
Timing time_attend(const std::string& isa, const std::string& kv, const Array<float>& q, const py::array& k,
                   const py::array& v, const Array<int32_t>& count, int blocks, int repeats) {
  const KvFormat format = parse_kv_format(kv);
  const AttendArrays in{q, k, v, count};
  in.check(format);
  require(blocks > 0 && repeats > 0, "expected positive counts");
  const KvKernels& kernels = isa_table(isa).kv[static_cast<int>(format)];
  const int64_t bytes = k.nbytes();
  Buffer<uint8_t> keys, values;
  for (int b = 0; b < blocks; ++b) {
    std::copy_n(static_cast<const uint8_t*>(k.data()), bytes, keys.reserve(blocks * bytes) + b * bytes);
    std::copy_n(static_cast<const uint8_t*>(v.data()), bytes, values.reserve(blocks * bytes) + b * bytes);
  }
  std::vector<SoftmaxState> state(static_cast<size_t>(in.rows()), {0.0f, 0.0f});
  Array<float> out({in.rows(), in.dim()});
  std::fill(out.mutable_data(), out.mutable_data() + out.size(), 0.0f);
  float* to = out.mutable_data();
  Scratch scratch(attend_scratch_bytes(in.dim()));
  return run_alone(repeats, [&] {
    for (int b = 0; b < blocks; ++b)
      kernels.attend(q.data(), keys.get() + b * bytes, values.get() + b * bytes, count.data(), in.rows(), in.dim(),
                     state.data(), to, scratch.get(), b + 1 < blocks ? keys.get() + (b + 1) * bytes : nullptr);
  });
}

// Writes into k and v.
void store(const std::string& isa, const std::string& kv, const Array<float>& key, const Array<float>& value, int slot,
           py::array& k, py::array& v) {
  const KvFormat format = parse_kv_format(kv);
  const int dim = static_cast<int>(key.size());
  require(dim % 8 == 0 && value.size() == dim, "key, value: expected [dim], dim a multiple of 8");
  require(slot >= 0 && slot < kKvBlock, "slot: expected 0 to 63");
  require_planes(format, dim, k, v);
  void *to_k = k.mutable_data(), *to_v = v.mutable_data();
  run_alone(
      1, [&] { isa_table(isa).kv[static_cast<int>(format)].store(key.data(), value.data(), slot, dim, to_k, to_v); });
}

// ---- element-wise

Array<float> rms_norm(const std::string& isa, const Array<float>& x, const Array<float>& weight, float eps) {
  require(x.ndim() == 1, "x: expected [n]");
  require_shape(weight, {x.size()}, "weight");
  Array<float> out(x.size());
  float* to = out.mutable_data();
  run_alone(1, [&] { isa_table(isa).ops.rms_norm(x.data(), weight.data(), eps, static_cast<int>(x.size()), to); });
  return out;
}

Array<float> rope(const std::string& isa, const Array<float>& x, const Array<float>& cos, const Array<float>& sin) {
  require(x.ndim() == 1 && x.size() % 2 == 0, "x: expected [head_dim], even");
  require_shape(cos, {x.size() / 2}, "cos");
  require_shape(sin, {x.size() / 2}, "sin");
  Array<float> out(x.size());
  float* to = out.mutable_data();
  std::copy(x.data(), x.data() + x.size(), to);
  run_alone(1, [&] { isa_table(isa).ops.rope(to, cos.data(), sin.data(), static_cast<int>(x.size() / 2)); });
  return out;
}

Array<float> silu_mul(const std::string& isa, const Array<float>& gate, const Array<float>& up) {
  require(gate.ndim() == 1, "gate: expected [n]");
  require_shape(up, {gate.size()}, "up");
  Array<float> out(gate.size());
  float* to = out.mutable_data();
  run_alone(1, [&] { isa_table(isa).ops.silu_mul(gate.data(), up.data(), static_cast<int>(gate.size()), to); });
  return out;
}

// ---- rounding

struct RoundArrays {
  const Array<float>&u, &importance, &row_scale, &w;

  int n() const { return static_cast<int>(w.shape(0)); }
  RoundFactor factor() const { return {n(), u.data(), importance.data()}; }
  void check() const {
    require(w.ndim() == 2 && n() > 0 && n() % kGroup == 0 && n() <= 256, "w: expected [n, 16], n 32 to 256 in groups");
    require_shape(w, {n(), kRoundRows}, "w");
    require_shape(u, {n(), n()}, "u");
    require_shape(importance, {n()}, "importance");
    require_shape(row_scale, {kRoundRows}, "row_scale");
  }
};

// (q, scale, what is left of w)
std::tuple<Array<int8_t>, Array<int8_t>, Array<float>> round_q4(const std::string& isa, const Array<float>& u,
                                                                const Array<float>& importance,
                                                                const Array<float>& row_scale, const Array<float>& w) {
  const RoundArrays in{u, importance, row_scale, w};
  in.check();
  Array<int8_t> q({in.n(), kRoundRows}), scale({in.n() / kGroup, kRoundRows});
  Array<float> rest({in.n(), kRoundRows});
  int8_t *to_q = q.mutable_data(), *to_scale = scale.mutable_data();
  float* to_rest = std::copy_n(w.data(), w.size(), rest.mutable_data()) - w.size();
  run_alone(1, [&] { isa_table(isa).ops.round_q4(in.factor(), row_scale.data(), to_rest, to_q, to_scale); });
  return {q, scale, rest};
}

Timing time_round_q4(const std::string& isa, const Array<float>& u, const Array<float>& importance,
                     const Array<float>& row_scale, const Array<float>& w, int repeats) {
  const RoundArrays in{u, importance, row_scale, w};
  in.check();
  require(repeats > 0, "expected a positive count");
  std::vector<float> rest(static_cast<size_t>(w.size()));
  std::vector<int8_t> q(rest.size()), scale(rest.size());
  return run_alone(repeats, [&] {
    std::copy_n(w.data(), w.size(), rest.data());
    isa_table(isa).ops.round_q4(in.factor(), row_scale.data(), rest.data(), q.data(), scale.data());
  });
}

// One element-wise kernel by its name in rows(), on n values.
Timing time_op(const std::string& isa, const std::string& name, int n, int repeats) {
  require(n > 0 && n % 256 == 0 && repeats > 0, "n: expected a positive multiple of 256");
  const OpKernels& ops = isa_table(isa).ops;
  std::vector<float> a(static_cast<size_t>(n)), b(a.size(), 0.5f), out(a.size());
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 23) * 0.1f - 1.0f;
  std::vector<int8_t> q(a.size());
  std::vector<int16_t> sum(a.size() / kGroup);
  if (name == "rms_norm") return run_alone(repeats, [&] { ops.rms_norm(a.data(), b.data(), 1e-6f, n, out.data()); });
  if (name == "rope") return run_alone(repeats, [&] { ops.rope(a.data(), b.data(), b.data(), n / 2); });
  if (name == "silu_mul") return run_alone(repeats, [&] { ops.silu_mul(a.data(), b.data(), n, out.data()); });
  QuantizeFn* kernel = parse_activation(name.substr(name.rfind('_') + 1)) == Activation::i8g32 ? ops.quantize_i8g32
                                                                                               : ops.quantize_i8g256;
  return run_alone(repeats, [&] { kernel(a.data(), n, n, q.data(), out.data(), sum.data()); });
}

// ---- registry

// Name of every kernel of a table, and its address.
std::vector<std::tuple<std::string, std::string, uintptr_t>> kernel_list(const IsaTable& table) {
  std::vector<std::tuple<std::string, std::string, uintptr_t>> rows;
  const auto add = [&](const char* kind, const char* name, auto* function) {
    rows.emplace_back(kind, name, reinterpret_cast<uintptr_t>(function));
  };
  for (int f = 0; f < kFormats; ++f) add("matmul", table.formats[f].name, table.formats[f].matmul);
  for (int f = 0; f < kKvFormats; ++f) add("attend", table.kv[f].name, table.kv[f].attend);
  for (int f = 0; f < kKvFormats; ++f) add("store", table.kv[f].name, table.kv[f].store);
  add("op", "rms_norm", table.ops.rms_norm);
  add("op", "rope", table.ops.rope);
  add("op", "silu_mul", table.ops.silu_mul);
  add("op", "quantize_i8g32", table.ops.quantize_i8g32);
  add("op", "quantize_i8g256", table.ops.quantize_i8g256);
  add("round", "q4", table.ops.round_q4);
  return rows;
}

// (isa, kind, name) of every compiled kernel.
std::vector<std::tuple<std::string, std::string, std::string>> rows() {
  std::vector<std::tuple<std::string, std::string, std::string>> all;
  for (const IsaTable* table : isa_tables())
    for (const auto& [kind, name, address] : kernel_list(*table)) all.emplace_back(table->name, kind, name);
  return all;
}

// "kind name" -> address of the kernels that this process' engine calls (isa "") or of a named ISA's.
std::map<std::string, uintptr_t> addresses(const std::string& isa) {
  std::map<std::string, uintptr_t> all;
  for (const auto& [kind, name, address] : kernel_list(isa.empty() ? chosen_isa() : isa_table(isa)))
    all.emplace(kind + " " + name, address);
  return all;
}

Array<float> row_to_float_array(const std::string& format, const Array<uint8_t>& packed, int rows, int cols, int row) {
  const Matrix w = to_matrix(format, packed, rows, cols);
  require(row >= 0 && row < rows, "row out of range");
  Array<float> out(cols);
  float* to = out.mutable_data();
  run_alone(1, [&] { row_to_float(w, row, to); });
  return out;
}

// (multiply-adds, seconds, ticks) of one thread.
std::tuple<int64_t, double, uint64_t> probe_multiply(const std::string& isa, const std::string& name, int64_t rounds) {
  const Probes& probes = isa_table(isa).probes;
  require(name == "fp32" || name == "int8", "probe: expected fp32 or int8");
  int64_t done = 0;
  const auto [seconds, passed] =
      run_alone(1, [&] { done = name == "fp32" ? probes.fp32(rounds) : probes.int8(rounds); });
  return {done, seconds, passed};
}

// Seconds that `threads` threads take to read `bytes` of memory `repeats` times.
double probe_read(const std::string& isa, int64_t bytes, int threads, int repeats) {
  require(bytes > 0 && threads > 0 && repeats > 0, "expected positive counts");
  const Probes& probes = isa_table(isa).probes;
  constexpr int64_t piece = 64 << 10;
  const int64_t pieces = bytes / piece;
  Buffer<uint8_t> data;
  data.reserve(pieces * piece);
  py::gil_scoped_release release;
  std::fill_n(data.get(), pieces * piece, uint8_t{1});
  return std::get<0>(timed([&] {
    run_team(threads, [&](Team& team) {
      for (int i = 0; i < repeats; ++i)
        team.for_each(static_cast<int>(pieces), [&](int p) { probes.read(data.get() + p * piece, piece); });
    });
  }));
}

}  // namespace

void bind_kernels(py::module_& parent) {
  py::module_ m =
      parent.def_submodule("kernels", "Single kernels of a named instruction set, for tests and benchmarks.");
  m.def("rows", &rows);
  m.def("addresses", &addresses, py::arg("isa"));
  m.def("matmul", &matmul, py::arg("isa"), py::arg("format"), py::arg("packed"), py::arg("rows"), py::arg("cols"),
        py::arg("x"), py::arg("all_tokens"), py::arg("first_tile"), py::arg("n_tiles"), py::arg("first_token"),
        py::arg("n_tokens"), py::arg("ldy"));
  m.def("time_matmul", &time_matmul, py::arg("isa"), py::arg("format"), py::arg("packed"), py::arg("rows"),
        py::arg("cols"), py::arg("x"), py::arg("n_tokens"), py::arg("tiles_per_piece"), py::arg("threads"),
        py::arg("repeats"));
  m.def("quantize", &quantize, py::arg("isa"), py::arg("form"), py::arg("x"));
  m.def(
      "kv_plane_bytes", [](const std::string& kv, int dim) { return kv_plane_bytes(parse_kv_format(kv), dim); },
      py::arg("kv"), py::arg("dim"));
  m.def("attend", &attend, py::arg("isa"), py::arg("kv"), py::arg("q"), py::arg("k"), py::arg("v"), py::arg("count"),
        py::arg("max"), py::arg("sum"), py::arg("out"));
  m.def("time_attend", &time_attend, py::arg("isa"), py::arg("kv"), py::arg("q"), py::arg("k"), py::arg("v"),
        py::arg("count"), py::arg("blocks"), py::arg("repeats"));
  m.def("store", &store, py::arg("isa"), py::arg("kv"), py::arg("key"), py::arg("value"), py::arg("slot"), py::arg("k"),
        py::arg("v"));
  m.def("rms_norm", &rms_norm, py::arg("isa"), py::arg("x"), py::arg("weight"), py::arg("eps"));
  m.def("rope", &rope, py::arg("isa"), py::arg("x"), py::arg("cos"), py::arg("sin"));
  m.def("silu_mul", &silu_mul, py::arg("isa"), py::arg("gate"), py::arg("up"));
  m.def("time_op", &time_op, py::arg("isa"), py::arg("name"), py::arg("n"), py::arg("repeats"));
  m.def("round_q4", &round_q4, py::arg("isa"), py::arg("u"), py::arg("importance"), py::arg("row_scale"), py::arg("w"));
  m.def("time_round_q4", &time_round_q4, py::arg("isa"), py::arg("u"), py::arg("importance"), py::arg("row_scale"),
        py::arg("w"), py::arg("repeats"));
  m.def("row_to_float", &row_to_float_array, py::arg("format"), py::arg("packed"), py::arg("rows"), py::arg("cols"),
        py::arg("row"));
  m.def("probe_multiply", &probe_multiply, py::arg("isa"), py::arg("name"), py::arg("rounds"));
  m.def("probe_read", &probe_read, py::arg("isa"), py::arg("bytes"), py::arg("threads"), py::arg("repeats"));
}

}  // namespace qwen3cpu
