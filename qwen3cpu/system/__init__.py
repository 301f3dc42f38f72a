"""The machine: threads, control groups, memory, forks, BLAS threads, progress bars. It does not depend on models."""
