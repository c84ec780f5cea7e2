//! All torrents of the process: one port, one table; idle torrents sleep in it, active ones have a driver.
