//! The extension protocol (BEP 10) and the metadata extension (BEP 9).
