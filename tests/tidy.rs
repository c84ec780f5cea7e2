//! Borders and habits, kept by a test.
