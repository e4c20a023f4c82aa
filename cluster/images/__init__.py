"""Where and when pictures are turned: prepared media processes, engines that hold them, and the batches they get."""
