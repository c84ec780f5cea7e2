"""Seeds every torrent of a folder with libtorrent, trusting the content: libtorrent_idle.py HOME ADDRESS."""

import pathlib
import sys
import threading

import libtorrent

home, address = pathlib.Path(sys.argv[1]), sys.argv[2]
session = libtorrent.session({
    "listen_interfaces": address,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "active_seeds": -1,
    "active_limit": -1,
    "active_tracker_limit": -1,
    "max_concurrent_http_announces": 500,
    "alert_mask": 0,
})
for torrent in sorted((home / "torrents").glob("*.torrent")):
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(str(torrent))
    parameters.save_path = str(home / "content")
    parameters.flags = libtorrent.torrent_flags.seed_mode
    session.async_add_torrent(parameters)
threading.Event().wait()
