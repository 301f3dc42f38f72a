// Cores of Windows: those that have a CPU of the process's affinity mask.
#include "system/cores.h"

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <cstddef>
#include <vector>

namespace qwen3cpu {
namespace {

// The CPUs of a processor group that this process may run on. A process of several groups has no mask of its own.
KAFFINITY allowed_of(WORD group) {
  USHORT groups[64], count = 64;
  if (!GetProcessGroupAffinity(GetCurrentProcess(), &count, groups) || count != 1) return ~KAFFINITY{0};
  DWORD_PTR process = 0, system = 0;
  if (!GetProcessAffinityMask(GetCurrentProcess(), &process, &system)) return ~KAFFINITY{0};
  return group == groups[0] ? process : 0;
}

}  // namespace

int physical_cores() {
  DWORD size = 0;
  GetLogicalProcessorInformationEx(RelationProcessorCore, nullptr, &size);
  std::vector<std::max_align_t> room(size / sizeof(std::max_align_t) + 1);
  auto* bytes = reinterpret_cast<std::byte*>(room.data());
  const auto at = [&](DWORD i) { return reinterpret_cast<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(bytes + i); };
  if (!GetLogicalProcessorInformationEx(RelationProcessorCore, at(0), &size)) return 1;
  int cores = 0;
  for (DWORD i = 0; i < size; i += at(i)->Size) {
    const GROUP_AFFINITY& cpus = at(i)->Processor.GroupMask[0];  // a core lies in one group
    if ((cpus.Mask & allowed_of(cpus.Group)) != 0) ++cores;
  }
  return cores > 0 ? cores : 1;
}

}  // namespace qwen3cpu
