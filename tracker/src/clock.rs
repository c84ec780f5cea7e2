//! Time, the only place where the tracker asks for it.
