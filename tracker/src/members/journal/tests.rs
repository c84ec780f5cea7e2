//! Tests of the journal on disks that fail.
