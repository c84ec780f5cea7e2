//! Settings: what was typed, what a file says, what it means.
