// The extension module `_native`: registers its parts.
#include "bindings/parts.h"
#include "system/error.h"

namespace py = pybind11;

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
  bind_machine(m);
  bind_formats(m);
  bind_sequence(m);
  bind_model(m);
  bind_adapter(m);
  bind_bpe(m);
  bind_rounding(m);
  py::module_ kernels =
      m.def_submodule("kernels", "Single kernels of a named instruction set, for tests and benchmarks.");
  bind_kernel_list(kernels);
  bind_kernel_products(kernels);
  bind_kernel_attention(kernels);
  bind_kernel_ops(kernels);
}
