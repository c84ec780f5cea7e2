//! Metainfo files, v1 (BEP 3), v2 and hybrid (BEP 52): read and checked in full, and written.

pub mod write;
