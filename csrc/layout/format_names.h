// The names of weight formats and KV formats, as users write them.
#pragma once

#include <string>

#include "layout/format.h"

namespace qwen3cpu {

inline constexpr int kFormats = 0
#define FORMAT(...) +1
#include "layout/formats.inc"
#undef FORMAT
    ;
inline constexpr int kKvFormats = 0
#define KV_FORMAT(...) +1
#include "layout/kv_formats.inc"
#undef KV_FORMAT
    ;

const char* format_name(Format format);
const char* kv_format_name(KvFormat format);
Format parse_format(const std::string& name);       // throws Error
KvFormat parse_kv_format(const std::string& name);  // throws Error

}  // namespace qwen3cpu
