//! Who may announce: members, their keys, the register of torrents, the ledger of bytes. The place of private mode.
