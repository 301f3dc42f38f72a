// The tensors that the caller passes, looked up by their Hugging Face names.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "layout/tensor.h"

namespace qwen3cpu {

// A vector of floats with its length.
struct Vector {
  const float* data;
  int64_t size;
};

// Looks tensors up by name and checks their shapes.
class Tensors {
 public:
  Tensors(const std::map<std::string, Matrix>& matrices, const std::map<std::string, Vector>& vectors)
      : matrices_(matrices), vectors_(vectors) {}

  // The first two throw Error for a missing or misshapen tensor. It names the tensor, the expected and the found shape.
  // An optional vector may be missing (nullptr).
  Matrix matrix(const std::string& name, int rows, int cols) const;
  const float* vector(const std::string& name, int size) const;
  const float* optional_vector(const std::string& name, int size) const;
  bool has_matrix(const std::string& name) const { return matrices_.count(name) > 0; }

 private:
  const std::map<std::string, Matrix>& matrices_;
  const std::map<std::string, Vector>& vectors_;
};

}  // namespace qwen3cpu
