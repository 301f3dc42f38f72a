// The NumPy arrays that the bindings take.
#pragma once

#include <pybind11/numpy.h>

#include <string>

#include "packing/pack.h"
#include "system/error.h"

namespace qwen3cpu {

// C-contiguous. Without forcecast, so that 1.5 and 2**32 + 1 do not become token 1.
template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;
using Floats = Array<float>;
using Ints = Array<int32_t>;
using Bytes = Array<uint8_t>;

inline std::string shape_text(const pybind11::array& a) {
  return std::string(pybind11::str(pybind11::object(a.attr("shape"))));
}

// The element type of an array of weights. Throws Error for types that checkpoints do not have.
inline Source source_of(const pybind11::array& weights) {
  if (pybind11::isinstance<pybind11::array_t<float>>(weights)) return Source::f32;
  if (pybind11::isinstance<pybind11::array_t<uint16_t>>(weights)) return Source::bf16;
  if (weights.dtype().kind() == 'f' && weights.itemsize() == 2) return Source::f16;
  throw Error("weights: expected float32, float16 or uint16 (bfloat16 bits), found " +
              std::string(pybind11::str(weights.dtype())));
}

}  // namespace qwen3cpu
