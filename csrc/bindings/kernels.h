// The submodule `_native.kernels` for tests and benchmarks of single kernels.
#pragma once

#include <pybind11/pybind11.h>

namespace qwen3cpu {

void bind_kernels(pybind11::module_& m);

}  // namespace qwen3cpu
