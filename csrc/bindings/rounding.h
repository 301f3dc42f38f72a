// Error-compensating rounding for Python.
#pragma once

#include <pybind11/pybind11.h>

namespace qwen3cpu {

void bind_rounding(pybind11::module_& m);

}  // namespace qwen3cpu
