// Daemon threads of Python while the interpreter ends.
#pragma once

namespace qwen3cpu {

// To be called by the main thread when the interpreter is about to end. From then on a daemon thread that has to stop
// waits for the end of the process. Until Python 3.13 such a thread, when it comes back for the GIL, is ended by
// pthread_exit; the unwinding meets functions that nothing may leave (destructors of pybind11, loops of NumPy) and
// std::terminate would abort the process, whose exit status would be lost.
void hold_threads_that_end();

}  // namespace qwen3cpu
