"""Where and when work runs and where state lives: job store, dispatcher, tasks, storage."""
