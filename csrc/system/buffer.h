// A growing, 64-byte aligned array for workspaces. Contents are not kept when it grows.
#pragma once

#include <cstdint>
#include <memory>

#include "system/memory.h"

namespace qwen3cpu {

template <class T>
class Buffer {
 public:
  // Makes room for at least n elements. New memory is uninitialised.
  T* reserve(int64_t n) {
    if (n > capacity_) {
      data_.reset();
      data_.reset(static_cast<T*>(allocate_aligned(n * static_cast<int64_t>(sizeof(T)))));
      capacity_ = n;
    }
    return data_.get();
  }
  T* get() { return data_.get(); }
  const T* get() const { return data_.get(); }
  int64_t bytes() const { return capacity_ * static_cast<int64_t>(sizeof(T)); }

 private:
  struct Free {
    void operator()(T* p) const { free_aligned(p); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t capacity_ = 0;
};

}  // namespace qwen3cpu
