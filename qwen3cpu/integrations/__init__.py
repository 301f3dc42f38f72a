"""Models for other libraries, with a module or a package for each. qwen3cpu itself imports none of them."""
