// Looking tensors up.
#include "engine/tensors.h"

#include "system/error.h"

namespace qwen3cpu {
namespace {

std::string shape(int64_t rows, int64_t cols) { return "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]"; }

}  // namespace

Matrix Tensors::matrix(const std::string& name, int rows, int cols) const {
  const auto found = matrices_.find(name);
  if (found == matrices_.end()) throw Error(name + ": missing; expected shape " + shape(rows, cols));
  const Matrix& m = found->second;
  if (m.rows != rows || m.cols != cols)
    throw Error(name + ": expected shape " + shape(rows, cols) + ", found " + shape(m.rows, m.cols));
  return m;
}

const float* Tensors::vector(const std::string& name, int size) const {
  const float* found = optional_vector(name, size);
  if (found == nullptr) throw Error(name + ": missing; expected shape [" + std::to_string(size) + "]");
  return found;
}

const float* Tensors::optional_vector(const std::string& name, int size) const {
  const auto found = vectors_.find(name);
  if (found == vectors_.end()) return nullptr;
  if (found->second.size != size)
    throw Error(name + ": expected shape [" + std::to_string(size) + "], found [" + std::to_string(found->second.size) +
                "]");
  return found->second.data;
}

}  // namespace qwen3cpu
