// `_native.Bpe`, for qwen3cpu/text/bpe.py.
#pragma once

#include <pybind11/pybind11.h>

namespace qwen3cpu {

void bind_bpe(pybind11::module_& m);

}  // namespace qwen3cpu
