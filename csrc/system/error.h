// The one exception that the engine throws. Bindings turn it into qwen3cpu.errors.EngineError.
#pragma once

#include <stdexcept>
#include <string>

namespace qwen3cpu {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace qwen3cpu
