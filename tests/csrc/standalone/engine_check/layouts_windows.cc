// Checks the structures of Windows that tests/system/test_windows_halves.py expects in qwen3cpu/system/windows against
// the headers, because Python defines their layout by hand.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
// Must come after windows.h.
#include <psapi.h>

#include <cstddef>

static_assert(sizeof(MEMORYSTATUSEX) == 64);
static_assert(offsetof(MEMORYSTATUSEX, ullTotalPhys) == 8);
static_assert(offsetof(MEMORYSTATUSEX, ullAvailPhys) == 16);
static_assert(offsetof(MEMORYSTATUSEX, ullAvailPageFile) == 32);

static_assert(sizeof(PROCESS_MEMORY_COUNTERS) == 72);
static_assert(offsetof(PROCESS_MEMORY_COUNTERS, PeakWorkingSetSize) == 8);
static_assert(offsetof(PROCESS_MEMORY_COUNTERS, PagefileUsage) == 56);

static_assert(sizeof(JOBOBJECT_EXTENDED_LIMIT_INFORMATION) == 144);
static_assert(offsetof(JOBOBJECT_EXTENDED_LIMIT_INFORMATION, BasicLimitInformation.LimitFlags) == 16);
static_assert(offsetof(JOBOBJECT_EXTENDED_LIMIT_INFORMATION, BasicLimitInformation.PriorityClass) == 56);
static_assert(offsetof(JOBOBJECT_EXTENDED_LIMIT_INFORMATION, ProcessMemoryLimit) == 112);
static_assert(offsetof(JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobMemoryLimit) == 120);
static_assert(JobObjectExtendedLimitInformation == 9 && JobObjectCpuRateControlInformation == 15);
static_assert(JOB_OBJECT_LIMIT_PROCESS_TIME == 0x2 && JOB_OBJECT_LIMIT_PRIORITY_CLASS == 0x20);
static_assert(JOB_OBJECT_LIMIT_PROCESS_MEMORY == 0x100 && JOB_OBJECT_LIMIT_JOB_MEMORY == 0x200);
static_assert(BELOW_NORMAL_PRIORITY_CLASS == 0x4000);

static_assert(sizeof(JOBOBJECT_CPU_RATE_CONTROL_INFORMATION) == 8);
static_assert(offsetof(JOBOBJECT_CPU_RATE_CONTROL_INFORMATION, CpuRate) == 4);
static_assert(JOB_OBJECT_CPU_RATE_CONTROL_ENABLE == 0x1 && JOB_OBJECT_CPU_RATE_CONTROL_WEIGHT_BASED == 0x2);
static_assert(JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP == 0x4 && JOB_OBJECT_CPU_RATE_CONTROL_MIN_MAX_RATE == 0x10);

static_assert(sizeof(OVERLAPPED) == 32);
static_assert(offsetof(OVERLAPPED, Offset) == 16 && offsetof(OVERLAPPED, OffsetHigh) == 20);
static_assert(LOCKFILE_FAIL_IMMEDIATELY == 1 && LOCKFILE_EXCLUSIVE_LOCK == 2);
static_assert(ERROR_LOCK_VIOLATION == 33 && ERROR_IO_PENDING == 997);
static_assert(ENABLE_VIRTUAL_TERMINAL_PROCESSING == 0x4);
