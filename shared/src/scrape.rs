//! Scrape requests and replies over HTTP (BEP 48, BEP 21), both directions.
