"""Its presence makes pytest put this folder on sys.path, so that tests can import `checkpoints`."""
