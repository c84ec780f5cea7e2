//! Open, read, write, verify. Nothing that may wait for a disk runs on an async thread.
