"""The machine: threads, control groups, memory, forks, BLAS threads, progress bars. Knows nothing of models."""
