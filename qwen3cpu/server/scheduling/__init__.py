"""The one thread that owns the model, and the jobs that it runs side by side."""
