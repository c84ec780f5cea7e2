//! Sockets: the listener, the dialer, and the pipe between one socket and whole messages.
