"""Downloads one torrent with libtorrent from the peers that its tracker names, and ends: libtorrent_get.py TORRENT FOLDER."""

import sys

import libtorrent

torrent, folder = sys.argv[1:]
session = libtorrent.session({
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "ssrf_mitigation": False,
    "in_enc_policy": 2,
    "out_enc_policy": 2,
    "alert_mask": libtorrent.alert.category_t.status_notification | libtorrent.alert.category_t.storage_notification,
})
parameters = libtorrent.add_torrent_params()
parameters.ti = libtorrent.torrent_info(torrent)
parameters.save_path = folder
parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
handle = session.add_torrent(parameters)
while True:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if isinstance(alert, libtorrent.torrent_finished_alert):
            handle.flush_cache()
        elif isinstance(alert, libtorrent.cache_flushed_alert):
            sys.exit(0)
