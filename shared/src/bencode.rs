//! Bencode: the scan that everything from strangers passes first, and the writer (BEP 3).
