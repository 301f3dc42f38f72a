// The parts of the extension module, in the order of their registration in module.cc.
#pragma once

#include <pybind11/pybind11.h>

namespace qwen3cpu {

void bind_machine(pybind11::module_& m);   // isas, physical_cores, touch_pages, hold_threads_that_end
void bind_formats(pybind11::module_& m);   // FORMATS, matrix_bytes, pack_into, ...
void bind_sequence(pybind11::module_& m);  // Sequence, Block
void bind_model(pybind11::module_& m);     // Model; after bind_sequence
void bind_adapter(pybind11::module_& m);   // Adapter, changed_norms; after bind_model
void bind_bpe(pybind11::module_& m);       // Bpe, for qwen3cpu/text/bpe.py
void bind_rounding(pybind11::module_& m);  // error-compensating rounding, for qwen3cpu/quantization

// The submodule `kernels`: single kernels of a named instruction set, for tests and benchmarks.
void bind_kernel_list(pybind11::module_& kernels);
void bind_kernel_products(pybind11::module_& kernels);
void bind_kernel_attention(pybind11::module_& kernels);
void bind_kernel_ops(pybind11::module_& kernels);

}  // namespace qwen3cpu
