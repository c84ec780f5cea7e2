//! Tests of the books with stores and disks that fail.
