// The input of engine_check: the shape of a model, the places of its tensors in a packed file, and prompts. The
// loader's Python reads the packed file itself. tests/support/engine_descriptions.py writes its results to the
// description.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/config.h"
#include "layout/format.h"

namespace qwen3cpu::check {

struct MatrixPlace {
  Format format;
  int rows, cols;
  int64_t offset;  // in the packed file
};

struct VectorPlace {
  int64_t size, offset;
};

struct Description {
  Config config;
  std::map<std::string, MatrixPlace> matrices;
  std::map<std::string, VectorPlace> vectors;
  std::vector<std::vector<int>> prompts;
  int answer = 0;  // tokens of each answer
};

// Throws Error for an incomplete file.
Description read_description(const std::string& path);

}  // namespace qwen3cpu::check
