// Which kind of MLP a layer has.
#include "engine/mlp.h"

#include "engine/mlp_dense.h"

namespace qwen3cpu {

std::unique_ptr<const Mlp> collect_mlp(const Config& config, const Tensors& tensors, const std::string& prefix) {
  return std::make_unique<DenseMlp>(config, tensors, prefix);
}

}  // namespace qwen3cpu
