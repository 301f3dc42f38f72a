// NumPy arrays as the bindings take them.
#pragma once

#include <pybind11/numpy.h>

#include <string>

namespace qwen3cpu {

// C-contiguous. No forcecast: 1.5 and 2**32 + 1 are not token 1.
template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

inline std::string shape_text(const pybind11::array& a) {
  return std::string(pybind11::str(pybind11::object(a.attr("shape"))));
}

}  // namespace qwen3cpu
