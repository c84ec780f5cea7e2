//! One torrent as state machines: session, choker, picker, announcer, token bucket. Pure.
