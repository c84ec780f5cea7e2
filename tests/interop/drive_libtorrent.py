"""Drives libtorrent for the interop tests. Lines on standard output say what happened:
`listening ADDRESS`, `seeding` once all the data is there, `failed WHY`, `error WORDS` and `warning WORDS` as a user is shown
them about a tracker. Told to terminate, it takes its leave of the tracker, prints `left UPLOADED DOWNLOADED` as it has counted
them, and ends.

    drive_libtorrent.py peer SOURCE… DIR --listen ADDRESS:PORT [--seed] [--dial ADDRESS:PORT] [--upload-rate BYTES] [--impatient] [--hidden]
    drive_libtorrent.py make PATH OUTPUT --kind v1|hybrid|v2 --tracker URL [--piece-length N]
"""
import argparse
import os
import signal
import sys
import warnings

import libtorrent as lt

# The old names are the only ones that Debian's 2.0.8 and newer releases share.
warnings.simplefilter("ignore", DeprecationWarning)


def say(*words):
    print(*words, flush=True)


def make(arguments):
    kinds = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}
    files = lt.file_storage()
    lt.add_files(files, arguments.path)
    torrent = lt.create_torrent(files, arguments.piece_length, kinds[arguments.kind])
    torrent.add_tracker(arguments.tracker)
    lt.set_piece_hashes(torrent, os.path.dirname(os.path.abspath(arguments.path)))
    with open(arguments.output, "wb") as output:
        output.write(lt.bencode(torrent.generate()))
    say("made")


def parameters(arguments, source):
    if source.startswith("magnet:"):
        wanted = lt.parse_magnet_uri(source)
    else:
        wanted = lt.add_torrent_params()
        wanted.ti = lt.torrent_info(source)
    wanted.save_path = arguments.dir
    wanted.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if arguments.seed:
        wanted.flags |= lt.torrent_flags.seed_mode
    return wanted


def peer(arguments):
    session = lt.session({
        "listen_interfaces": arguments.listen,
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True,
        "enable_incoming_utp": False, "enable_outgoing_utp": False,
        # A tracker at a private address is asked nothing with a query of its own, unless this is off.
        "ssrf_mitigation": False,
        # 0 is no limit.
        "upload_rate_limit": arguments.upload_rate, "rate_limit_ip_overhead": False,
        # Encrypted handshakes and RC4 alone.
        **({"in_enc_policy": 0, "out_enc_policy": 0, "allowed_enc_level": 2} if arguments.hidden else {}),
        **({"min_announce_interval": 1, "tracker_backoff": 1} if arguments.impatient else {}),
        "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.status_notification
        | lt.alert.category_t.storage_notification | lt.alert.category_t.tracker_notification
        | (lt.alert.category_t.peer_log_notification if arguments.trace else 0),
    })
    torrent = [session.add_torrent(parameters(arguments, source)) for source in arguments.source][-1]
    if arguments.dial:
        address, port = arguments.dial.rsplit(":", 1)
        torrent.connect_peer((address.strip("[]"), int(port)))
    leaving = []
    signal.signal(signal.SIGTERM, lambda *_: leaving.append("asked"))
    while True:
        session.wait_for_alert(200)
        if leaving == ["asked"]:
            leaving.append("paused")
            torrent.pause()
        for alert in session.pop_alerts():
            kind = type(alert).__name__
            if kind == "listen_succeeded_alert":
                say("listening", alert.message())
            elif kind in ("torrent_finished_alert", "state_changed_alert"):
                # Pieces are hashed on their way to the disk: they may not be there yet.
                if torrent.status().is_seeding:
                    torrent.flush_cache()
            elif kind == "tracker_error_alert":
                say("error", alert.error_message() or alert.message())
            elif kind == "tracker_warning_alert":
                say("warning", alert.message())
            elif kind == "tracker_reply_alert" and "paused" in leaving:
                status = torrent.status()
                say("left", status.total_payload_upload, status.total_payload_download)
                return
            elif kind == "cache_flushed_alert":
                say("seeding")
            elif kind in ("torrent_error_alert", "listen_failed_alert", "file_error_alert", "metadata_failed_alert"):
                say("failed", alert.message())
            print(kind, alert.message(), file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("path")
    making.add_argument("output")
    making.add_argument("--kind", required=True)
    making.add_argument("--tracker", required=True)
    making.add_argument("--piece-length", type=int, default=0)
    peering = commands.add_parser("peer")
    peering.add_argument("source", nargs="+")
    peering.add_argument("dir")
    peering.add_argument("--listen", required=True)
    peering.add_argument("--seed", action="store_true")
    peering.add_argument("--dial")
    peering.add_argument("--upload-rate", type=int, default=0)
    peering.add_argument("--impatient", action="store_true")
    peering.add_argument("--hidden", action="store_true")
    peering.add_argument("--trace", action="store_true")
    arguments = parser.parse_args()
    make(arguments) if arguments.command == "make" else peer(arguments)


main()
