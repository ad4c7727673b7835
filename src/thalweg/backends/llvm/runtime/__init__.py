"""Run native code in this process: the target, the linker, the disk cache and the threads."""
