// Daemon threads of Python while the interpreter ends.
#pragma once

namespace qwen3cpu {

// The main thread calls this when the interpreter is about to end. From then on a daemon thread that has to stop waits
// for the end of the process. Up to Python 3.13 such a thread is ended by pthread_exit when it asks for the GIL again.
// The unwinding reaches functions that nothing may leave (destructors of pybind11, loops of NumPy). std::terminate
// would then abort the process, and its exit status would be lost.
void hold_threads_that_end();

}  // namespace qwen3cpu
