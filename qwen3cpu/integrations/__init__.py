"""Models for other libraries: a module or a package for each. None is imported unless a user does it."""
