//! Our programs alone.
