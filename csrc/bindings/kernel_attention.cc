// pybind11: attention to one block of keys and values, and writing into it.
#include <pybind11/stl.h>

#include "bindings/kernel_calls.h"
#include "bindings/parts.h"
#include "kernels/registry.h"
#include "layout/format_names.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

using namespace kernel_calls;

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

// Returns (max, sum, out) after one block.
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

// Times attention to `blocks` different blocks of keys and values, one after another, `repeats` times.
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

}  // namespace

void bind_kernel_attention(py::module_& m) {
  m.def(
      "kv_plane_bytes", [](const std::string& kv, int dim) { return kv_plane_bytes(parse_kv_format(kv), dim); },
      py::arg("kv"), py::arg("dim"));
  m.def("attend", &attend, py::arg("isa"), py::arg("kv"), py::arg("q"), py::arg("k"), py::arg("v"), py::arg("count"),
        py::arg("max"), py::arg("sum"), py::arg("out"));
  m.def("time_attend", &time_attend, py::arg("isa"), py::arg("kv"), py::arg("q"), py::arg("k"), py::arg("v"),
        py::arg("count"), py::arg("blocks"), py::arg("repeats"));
  m.def("store", &store, py::arg("isa"), py::arg("kv"), py::arg("key"), py::arg("value"), py::arg("slot"), py::arg("k"),
        py::arg("v"));
}

}  // namespace qwen3cpu
