// pybind11: the list of kernels, their addresses, and the peak speed of an instruction set.
#include <pybind11/stl.h>

#include <map>

#include "bindings/kernel_calls.h"
#include "bindings/parts.h"
#include "kernels/registry.h"
#include "layout/format_names.h"

namespace py = pybind11;

namespace qwen3cpu {
namespace {

using namespace kernel_calls;

// Kind, name and address of every kernel of a table.
std::vector<std::tuple<std::string, std::string, uintptr_t>> kernel_list(const IsaTable& table) {
  std::vector<std::tuple<std::string, std::string, uintptr_t>> rows;
  const auto add = [&](const char* kind, const char* name, auto* function) {
    rows.emplace_back(kind, name, reinterpret_cast<uintptr_t>(function));
  };
  for (int f = 0; f < kFormats; ++f) add("matmul", format_name(static_cast<Format>(f)), table.formats[f].matmul);
  for (int f = 0; f < kKvFormats; ++f) add("attend", kv_format_name(static_cast<KvFormat>(f)), table.kv[f].attend);
  for (int f = 0; f < kKvFormats; ++f) add("store", kv_format_name(static_cast<KvFormat>(f)), table.kv[f].store);
  add("op", "rms_norm", table.ops.rms_norm);
  add("op", "rope", table.ops.rope);
  add("op", "silu_mul", table.ops.silu_mul);
  add("op", "add", table.ops.add);
  add("op", "add_scaled", table.ops.add_scaled);
  add("op", "route", table.ops.route);
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

void bind_kernel_list(py::module_& m) {
  m.def("rows", &rows);
  m.def("addresses", &addresses, py::arg("isa"));
  m.def("probe_multiply", &probe_multiply, py::arg("isa"), py::arg("name"), py::arg("rounds"));
  m.def("probe_read", &probe_read, py::arg("isa"), py::arg("bytes"), py::arg("threads"), py::arg("repeats"));
}

}  // namespace qwen3cpu
