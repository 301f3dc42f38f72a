// pybind11: element-wise kernels, quantising inputs, and rounding with feedback.
#include <pybind11/stl.h>

#include <optional>

#include "bindings/kernel_calls.h"
#include "bindings/parts.h"
#include "kernels/registry.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

using namespace kernel_calls;

Activation parse_activation(const std::string& name) {
  if (name == "i8g32") return Activation::i8g32;
  if (name == "i8g256") return Activation::i8g256;
  throw Error("kernels: expected i8g32 or i8g256, found " + name);
}

std::tuple<Array<int8_t>, Array<float>, Array<int16_t>> quantize(const std::string& isa, const std::string& form,
                                                                 const Array<float>& x) {
  require(x.ndim() == 2 && x.shape(1) > 0, "x: expected [n_tokens, cols]");
  const Activation to = parse_activation(form);
  const OpKernels& ops = isa_table(isa).ops;
  QuantizeFn* kernel = to == Activation::i8g32 ? ops.quantize_i8g32 : ops.quantize_i8g256;
  const int64_t n = x.shape(0);
  const int cols = static_cast<int>(x.shape(1)), stride = static_cast<int>(round_up(cols, kGroup));
  const int64_t scales = ceil_div(cols, scale_columns(to)), sums = stride / kGroup;
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

Array<float> add(const std::string& isa, const Array<float>& y, const Array<float>& x,
                 const std::optional<Array<float>>& factor) {
  require(y.ndim() == 1, "y: expected [n]");
  require_shape(x, {y.size()}, "x");
  if (factor) require_shape(*factor, {y.size()}, "factor");
  Array<float> out(y.size());
  float* to = out.mutable_data();
  std::copy(y.data(), y.data() + y.size(), to);
  const float* by = factor ? factor->data() : nullptr;
  run_alone(1, [&] { isa_table(isa).ops.add(x.data(), by, static_cast<int>(y.size()), to); });
  return out;
}

Array<float> add_scaled(const std::string& isa, const Array<float>& y, const Array<float>& x, float scale) {
  require(y.ndim() == 1, "y: expected [n]");
  require_shape(x, {y.size()}, "x");
  Array<float> out(y.size());
  float* to = out.mutable_data();
  std::copy(y.data(), y.data() + y.size(), to);
  run_alone(1, [&] { isa_table(isa).ops.add_scaled(x.data(), scale, static_cast<int>(y.size()), to); });
  return out;
}

// Returns (experts, their weights) for one token.
std::tuple<Array<int>, Array<float>> route(const std::string& isa, const Array<float>& logits, int chosen,
                                           bool normalised) {
  require(logits.ndim() == 1 && chosen > 0 && chosen <= logits.size(), "logits: expected [experts], at least chosen");
  Array<int> experts(chosen);
  Array<float> weights(chosen);
  int* to_experts = experts.mutable_data();
  float* to_weights = weights.mutable_data();
  const auto n = static_cast<int>(logits.size());
  run_alone(1, [&] { isa_table(isa).ops.route(logits.data(), n, chosen, normalised, to_experts, to_weights); });
  return {experts, weights};
}

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

// Returns (q, scale, zero, w), where w are the errors that later columns have to make up for.
std::tuple<Array<int8_t>, Array<int8_t>, Array<int8_t>, Array<float>> round_q4(const std::string& isa,
                                                                               const Array<float>& u,
                                                                               const Array<float>& importance,
                                                                               const Array<float>& row_scale,
                                                                               const Array<float>& w) {
  const RoundArrays in{u, importance, row_scale, w};
  in.check();
  Array<int8_t> q({in.n(), kRoundRows}), scale({in.n() / kGroup, kRoundRows}), zero({in.n() / kGroup, kRoundRows});
  Array<float> rest({in.n(), kRoundRows});
  int8_t *to_q = q.mutable_data(), *to_scale = scale.mutable_data(), *to_zero = zero.mutable_data();
  float* to_rest = std::copy_n(w.data(), w.size(), rest.mutable_data()) - w.size();
  run_alone(1, [&] { isa_table(isa).ops.round_q4(in.factor(), row_scale.data(), to_rest, to_q, to_scale, to_zero); });
  return {q, scale, zero, rest};
}

Timing time_round_q4(const std::string& isa, const Array<float>& u, const Array<float>& importance,
                     const Array<float>& row_scale, const Array<float>& w, int repeats) {
  const RoundArrays in{u, importance, row_scale, w};
  in.check();
  require(repeats > 0, "expected a positive count");
  std::vector<float> rest(static_cast<size_t>(w.size()));
  std::vector<int8_t> q(rest.size()), scale(rest.size()), zero(rest.size());
  return run_alone(repeats, [&] {
    std::copy_n(w.data(), w.size(), rest.data());
    isa_table(isa).ops.round_q4(in.factor(), row_scale.data(), rest.data(), q.data(), scale.data(), zero.data());
  });
}

// Times one element-wise kernel, named as in rows(), on n values.
Timing time_op(const std::string& isa, const std::string& name, int n, int repeats) {
  require(n > 0 && n % 256 == 0 && repeats > 0, "n: expected a positive multiple of 256");
  const OpKernels& ops = isa_table(isa).ops;
  std::vector<float> a(static_cast<size_t>(n)), b(a.size(), 0.5f), out(a.size());
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 23) * 0.1f - 1.0f;
  std::vector<int8_t> q(a.size());
  std::vector<int16_t> sum(a.size() / kGroup);
  if (name == "rms_norm") return run_alone(repeats, [&] { ops.rms_norm(a.data(), b.data(), 1e-6f, n, out.data()); });
  if (name == "rope") return run_alone(repeats, [&] { ops.rope(a.data(), b.data(), b.data(), n / 2); });
  std::vector<int> experts(a.size());
  if (name == "add_scaled") return run_alone(repeats, [&] { ops.add_scaled(a.data(), 1e-9f, n, out.data()); });
  if (name == "route") return run_alone(repeats, [&] { ops.route(a.data(), n, 8, true, experts.data(), out.data()); });
  if (name == "add") return run_alone(repeats, [&] { ops.add(a.data(), b.data(), n, out.data()); });
  if (name == "silu_mul") return run_alone(repeats, [&] { ops.silu_mul(a.data(), b.data(), n, out.data()); });
  QuantizeFn* kernel = parse_activation(name.substr(name.rfind('_') + 1)) == Activation::i8g32 ? ops.quantize_i8g32
                                                                                               : ops.quantize_i8g256;
  return run_alone(repeats, [&] { kernel(a.data(), n, n, q.data(), out.data(), sum.data()); });
}

}  // namespace

void bind_kernel_ops(py::module_& m) {
  m.def("quantize", &quantize, py::arg("isa"), py::arg("form"), py::arg("x"));
  m.def("rms_norm", &rms_norm, py::arg("isa"), py::arg("x"), py::arg("weight"), py::arg("eps"));
  m.def("rope", &rope, py::arg("isa"), py::arg("x"), py::arg("cos"), py::arg("sin"));
  m.def("silu_mul", &silu_mul, py::arg("isa"), py::arg("gate"), py::arg("up"));
  m.def("add", &add, py::arg("isa"), py::arg("y"), py::arg("x"), py::arg("factor") = py::none());
  m.def("add_scaled", &add_scaled, py::arg("isa"), py::arg("y"), py::arg("x"), py::arg("scale"));
  m.def("route", &route, py::arg("isa"), py::arg("logits"), py::arg("chosen"), py::arg("normalised"));
  m.def("time_op", &time_op, py::arg("isa"), py::arg("name"), py::arg("n"), py::arg("repeats"));
  m.def("round_q4", &round_q4, py::arg("isa"), py::arg("u"), py::arg("importance"), py::arg("row_scale"), py::arg("w"));
  m.def("time_round_q4", &time_round_q4, py::arg("isa"), py::arg("u"), py::arg("importance"), py::arg("row_scale"),
        py::arg("w"), py::arg("repeats"));
}

}  // namespace qwen3cpu
