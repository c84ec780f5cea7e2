//! Announce requests and replies over HTTP (BEP 3, 7, 21, 23, 24, 31), both directions.
