//! The UDP tracker protocol (BEP 15). Its place is kept; the packets come with the UDP tracker.
