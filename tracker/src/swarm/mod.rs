//! Swarms: who is in them, who goes into a reply. Pure.
