// A file mapped into memory in the same way as by Python's loader.
#pragma once

#include <cstdint>
#include <string>

namespace qwen3cpu::check {

class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // throws Error; never unmapped
  const uint8_t* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  const uint8_t* data_;
  int64_t size_;
};

}  // namespace qwen3cpu::check
