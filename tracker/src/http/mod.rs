//! HTTP: the accept loop, the fast lane, axum behind it, the announce and scrape handlers.
