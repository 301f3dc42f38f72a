"""The thread that owns a model, and the jobs that it runs concurrently."""
