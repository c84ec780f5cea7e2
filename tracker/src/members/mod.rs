//! Who may announce. In public mode everybody may; members come with private mode, and this is their place.
